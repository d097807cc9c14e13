//! Conditions by version: what is not sent again, and what is written only if.

use super::*;

#[test]
fn a_version_that_the_client_has_is_not_sent_again() {
    for (condition, code) in [
        ("If-None-Match: \"1\"", 304),
        ("If-None-Match: W/\"1\"", 304),
        ("If-None-Match: \"x\", \"7\" , \"1\"", 304),
        ("If-None-Match: \"7\"\r\nIf-None-Match: \"1\"", 304),
        ("If-None-Match: *", 304),
        ("If-None-Match: \"2\"", 200),
        ("If-None-Match: \"x\"", 200),
        ("If-Match: \"1\"", 200),
        ("If-Match: \"2\", \"1\"", 200),
        ("If-Match: *", 200),
        ("If-Match: W/\"1\"", 412),
        ("If-Match: \"2\"", 412),
        ("If-Match: \"1\",\"2\",\"3\",\"4\",\"5\"", 400),
        ("If-Match: \"1\"\r\nIf-None-Match: \"2\"", 400),
    ] {
        for method in ["GET", "HEAD"] {
            let stream = format!("PUT /k/v HTTP/1.1\r\nHost: h\r\n\r\n{method} /k HTTP/1.1\r\nHost: h\r\n{condition}\r\n\r\n");
            let (output, _, closed) = play_split(stream.as_bytes());
            let answer = output.split_once("--saved--").expect("the first answer").1;
            assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")) && !closed, "{method} {condition}: {answer}");
            assert_eq!(answer.contains("\r\nETag: \"1\"\r\n"), matches!(code, 200 | 304), "{answer}");
            assert_eq!(answer.ends_with("\r\n\r\n"), code == 304 || method == "HEAD", "{answer}");
        }
    }
}

#[test]
fn a_write_on_a_condition_is_made_or_refused_and_nothing_between() {
    let one = "If-Match: \"1\"";
    for (method, there, condition, code, value) in [
        ("PUT", true, one, 200, "new"),
        ("POST", true, one, 200, "new"),
        ("PUT", true, "If-Match: \"2\"", 412, "old"),
        ("PUT", true, "If-Match: W/\"1\"", 412, "old"),
        ("PUT", true, "If-Match: \"abc\"", 412, "old"),
        ("PUT", true, "If-Match: \"1\", \"abc\"", 200, "new"),
        ("PUT", true, "If-Match: \"1\", \"2\"", 400, "old"),
        ("PUT", true, "If-Match: *", 200, "new"),
        ("PUT", true, "If-None-Match: *", 412, "old"),
        ("PUT", true, "If-None-Match: \"2\"", 400, "old"),
        ("PUT", true, "If-Match: *\r\nIf-None-Match: *", 400, "old"),
        ("PUT", false, one, 412, "--null--"),
        ("PUT", false, "If-Match: *", 412, "--null--"),
        ("PUT", false, "If-None-Match: *", 201, "new"),
        ("DELETE", true, one, 200, "--null--"),
        ("DELETE", true, "If-Match: *", 200, "--null--"),
        ("DELETE", true, "If-Match: \"2\"", 412, "old"),
        ("DELETE", true, "If-None-Match: *", 412, "old"),
        ("DELETE", false, one, 412, "--null--"),
        ("DELETE", false, "If-Match: *", 412, "--null--"),
        ("DELETE", false, "If-None-Match: *", 404, "--null--"),
        ("DELETE", true, "If-None-Match: \"2\"", 400, "old"),
    ] {
        let first = if there { "PUT /k/old HTTP/1.1" } else { "GET /k HTTP/1.1" };
        let head = format!("{method} /k HTTP/1.1\r\n{condition}\r\nContent-Length: 3");
        let played = dialogue(&[(first, ""), (&head, "new"), ("GET /k HTTP/1.1", "")]);
        assert_eq!((played[1].0, played[2].1.as_str()), (code, value), "{method} {condition}, {there}");
    }
}

#[test]
fn a_bad_tag_is_no_condition_that_could_be_passed_over() {
    for header in ["If-Match: 1", "If-None-Match:", "If-None-Match: \"1\" \"2\"", "If-Match: *, \"1\""] {
        let (output, asked, closed) = play_split(format!("DELETE /k HTTP/1.1\r\nHost: h\r\n{header}\r\n\r\n").as_bytes());
        assert_eq!((answers(&output)[0].0, asked.len(), closed), (400, 0, true), "{header}");
    }
}
