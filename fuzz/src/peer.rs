//! The peer channel: a frame is whole only with its last byte, and what was understood is composed and understood again as the same.

use spydercache::communication::peer::pieces::{Assembled, Assembly};
use spydercache::communication::peer::{Frame, compose, next_frame, read};

/// The largest message in pieces; small, so that the limit is met.
const MAX_MESSAGE: usize = 4_096;

/// Holds the codec to its promises.
pub fn run(data: &[u8]) {
    let (mut input, mut assembly) = (data, Assembly::default());
    loop {
        let consumed = match next_frame(input) {
            Frame::Whole { consumed, message } => {
                let mut bytes = Vec::new();
                if compose(&message, &mut bytes).is_none() {
                    let again = next_frame(&bytes);
                    assert_eq!(again, Frame::Whole { consumed: bytes.len(), message }, "composed as {}", bytes.escape_ascii());
                }
                consumed
            }
            Frame::Piece { consumed, bytes, is_last } => {
                let Some(assembled) = assembly.take(bytes, is_last, MAX_MESSAGE) else { return };
                if let Assembled::Whole(bytes) = assembled {
                    assert!(bytes.len() <= MAX_MESSAGE);
                    let _ = read(&bytes);
                }
                consumed
            }
            Frame::Taken { consumed, .. } => consumed,
            Frame::Incomplete | Frame::Invalid(_) => return,
        };
        assert!(consumed <= input.len(), "{consumed} bytes");
        for end in [0, 3, consumed / 2, consumed - 1] {
            assert_eq!(next_frame(&input[..end.min(consumed - 1)]), Frame::Incomplete);
        }
        input = &input[consumed..];
    }
}
