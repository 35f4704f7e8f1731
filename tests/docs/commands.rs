//! Command lines in pages.

use super::page::Page;

/// A command line, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Line {
    /// Its words, without quotes.
    pub(crate) words: Vec<String>,
    /// The page that it is on.
    pub(crate) page: String,
    /// Whether it stands within a sentence, where required arguments may be left out.
    pub(crate) is_mention: bool,
}

/// All command lines of `program` in `page`: in blocks of shell, behind prompts, and within sentences.
pub(crate) fn of_program(page: &Page, program: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    for (language, text) in &page.blocks {
        match language.as_str() {
            "sh" => lines.extend(statements(text).into_iter().map(|words| (words, false))),
            "console" => {
                let prompts: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("$ ")).collect();
                lines.extend(statements(&prompts.join("\n")).into_iter().map(|words| (words, false)));
            }
            _ => {}
        }
    }
    for span in &page.spans {
        lines.extend(statements(span).into_iter().map(|words| (words, true)));
    }
    let of_program = lines.into_iter().filter(|(words, _)| words.len() > 1 && words[0] == program);
    let page = page.path.display().to_string();
    of_program.map(|(words, is_mention)| Line { words, page: page.clone(), is_mention }).collect()
}

/// The commands of a script, each as its words. Quotes may go over several lines.
fn statements(text: &str) -> Vec<Vec<String>> {
    let (mut all, mut pending) = (Vec::new(), String::new());
    for line in text.replace("\\\n", " ").lines() {
        pending.push_str(line);
        pending.push('\n');
        if let Some(words) = shlex::split(&pending) {
            pending.clear();
            let commands = words.split(|word| matches!(word.as_str(), "|" | "&&" | ";" | ">"));
            all.extend(commands.filter(|words| !words.is_empty()).map(<[String]>::to_vec));
        }
    }
    all
}
