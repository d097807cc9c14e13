//! The peer channel: a frame is whole only with its last byte, and what was understood is composed and understood again as the same.

use spydercache::communication::peer::{Frame, compose, next_frame};

/// The largest frame; small, so that the limit is met.
const MAX_FRAME: usize = 4_096;

/// Holds the codec to its promises.
pub fn run(data: &[u8]) {
    let mut input = data;
    while let Frame::Whole { consumed, message } = next_frame(input, MAX_FRAME) {
        assert!(consumed <= input.len() && consumed <= MAX_FRAME + 4, "{consumed} bytes");
        for end in [0, 3, 4, consumed / 2, consumed - 1] {
            assert_eq!(next_frame(&input[..end.min(consumed - 1)], MAX_FRAME), Frame::Incomplete);
        }
        let mut bytes = Vec::new();
        compose(&message, &mut bytes);
        let again = next_frame(&bytes, 2 * MAX_FRAME);
        assert_eq!(again, Frame::Whole { consumed: bytes.len(), message }, "composed as {}", bytes.escape_ascii());
        input = &input[consumed..];
    }
}
