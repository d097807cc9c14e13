//! Source files as the house rules see them: code without comments, texts and tests, line by line where it was.

use std::fs;
use std::path::{Path, PathBuf};

/// A file of the project.
#[derive(Clone)]
pub struct Source {
    /// From the project's folder.
    pub path: String,
    /// All of it.
    pub text: String,
    /// Without comments and texts, up to its tests. Lines keep their places.
    pub code: String,
}

/// The project's folder.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file of a folder and its folders. A file that is all tests has no code.
pub fn sources(folder: &str) -> Vec<Source> {
    let mut files = Vec::new();
    walk(&root().join(folder), true, &mut files);
    files.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    files.iter().map(|path| Source::read(path)).collect()
}

/// Every file of a folder, but not of its folders, that holds text.
pub fn texts(folder: &str) -> Vec<Source> {
    let mut files = Vec::new();
    walk(&root().join(folder), false, &mut files);
    files.iter().filter(|path| fs::read_to_string(path).is_ok()).map(|path| Source::read(path)).collect()
}

fn walk(folder: &Path, deep: bool, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    for path in paths {
        if path.is_file() {
            files.push(path);
        } else if deep && !path.ends_with("target") {
            walk(&path, deep, files);
        }
    }
}

impl Source {
    fn read(path: &Path) -> Source {
        let text = fs::read_to_string(path).expect("a file of text");
        let path = path.strip_prefix(root()).expect("a file of the project").to_string_lossy().into_owned();
        let is_all_tests = path.ends_with("/tests.rs") || (path.starts_with("src/") && path.contains("/tests/"));
        let tests = if is_all_tests { 0 } else { text.find("\n#[cfg(test)]\nmod ").unwrap_or(text.len()) };
        let code = code_of(&text[..tests]);
        Source { path, text, code }
    }

    /// Is it this part of the source, or a file of it? A part is a path without `src/` and `.rs`.
    pub fn is_in(&self, part: &str) -> bool {
        let name = self.path.strip_prefix("src/").unwrap_or(&self.path);
        name.strip_prefix(part).is_some_and(|rest| rest.starts_with('/') || rest == ".rs")
    }

    /// Does it stand at the top, so that `super` is the whole crate?
    pub fn is_root_of_a_part(&self) -> bool {
        let depth = self.path.matches('/').count();
        depth == 1 || depth == 2 && self.path.ends_with("/mod.rs")
    }

    /// What it uses of the crate, as `part::item`.
    pub fn uses(&self) -> Vec<String> {
        let mut uses = Vec::new();
        for start in ["crate::", "spydercache::"] {
            for (at, _) in self.code.match_indices(start) {
                let rest = &self.code[at + start.len()..];
                let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
                uses.extend(spread(rest[..end].trim_end_matches(':'), &rest[end..]));
            }
        }
        uses
    }

    /// Its functions with their lengths in lines. The layout is rustfmt's: a body ends where its beginning was indented.
    pub fn functions(&self) -> Vec<(String, usize)> {
        let mut functions = Vec::new();
        let mut open: Option<(usize, String, String)> = None;
        for (number, line) in self.code.lines().enumerate() {
            let indent: String = line.chars().take_while(|c| *c == ' ').collect();
            if let Some(at) = find_word(line, "fn") {
                let name = line[at + 2..].trim_start().split(|c: char| !(c.is_alphanumeric() || c == '_')).next();
                open = Some((number, indent.clone(), name.unwrap_or_default().to_owned()));
            }
            if let Some((start, of, name)) = open.take_if(|(_, of, _)| line == format!("{of}}}")) {
                assert_eq!(of, indent);
                functions.push((name, number + 1 - start));
            }
        }
        functions
    }
}

/// `a::{b, c}` is `a::b` and `a::c`.
fn spread(path: &str, rest: &str) -> Vec<String> {
    let Some(list) = rest.strip_prefix('{').and_then(|rest| rest.split('}').next()) else { return vec![path.to_owned()] };
    list.split(',').map(|item| format!("{path}::{}", item.trim()).trim_start_matches(':').to_owned()).collect()
}

/// Does `word` stand in `code`, and not as a part of a longer name?
pub fn has_word(code: &str, word: &str) -> bool {
    find_word(code, word).is_some()
}

fn find_word(code: &str, word: &str) -> Option<usize> {
    let in_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut places = code.match_indices(word).map(|(at, _)| at);
    places.find(|at| {
        let before = code[..*at].chars().next_back().is_some_and(in_name) && word.starts_with(in_name);
        let after = code[at + word.len()..].chars().next().is_some_and(in_name) && word.ends_with(in_name);
        !before && !after
    })
}

/// Replaces comments and the insides of texts and characters by nothing, and keeps the ends of lines.
fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(hashes) = raw_text(rest) {
            let end = format!("\"{}", "#".repeat(hashes));
            let inside = hashes + 2;
            inside + rest[inside..].find(&end).map_or(rest.len() - inside, |at| at + end.len())
        } else if c == '"' {
            quoted(rest, '"')
        } else if c == '\'' && is_character(rest) {
            quoted(rest, '\'')
        } else {
            code.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        code.extend(rest[..length].chars().filter(|c| *c == '\n'));
        rest = &rest[length..];
    }
    code
}

/// The number of `#` with which a raw text begins here, if one does.
fn raw_text(rest: &str) -> Option<usize> {
    let rest = rest.strip_prefix('r')?;
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    rest[hashes..].starts_with('"').then_some(hashes)
}

/// The length of what begins here with a quotation mark and ends with the next one that is not escaped.
fn quoted(rest: &str, mark: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        if c == mark && !escaped {
            return at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    rest.len()
}

/// Is this a character, and not a lifetime?
fn is_character(rest: &str) -> bool {
    let mut chars = rest.chars().skip(1);
    chars.next() == Some('\\') || chars.next() == Some('\'')
}

#[test]
fn comments_texts_and_characters_are_cut_away_and_lines_stay() {
    let text = "a // b\n\"c\\\" d\ne\" f<'g> '\\'' 'h' r#\"i \" j\"# k";
    assert_eq!(code_of(text), "a \n\n f<'g>    k");
    assert!(has_word("use std::fs;", "std::fs") && !has_word("LinkedHashMap", "HashMap") && has_word("x.unwrap()", ".unwrap()"));
}
