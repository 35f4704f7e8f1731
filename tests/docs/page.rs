//! The pages that people read, and what is in them.

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A file of Markdown.
pub(crate) struct Page {
    /// Below the root of the checkout.
    pub(crate) path: PathBuf,
    /// The whole file.
    pub(crate) text: String,
    /// What can follow `#` in a link to it, as GitHub makes it of headings.
    pub(crate) anchors: BTreeSet<String>,
    /// Where its links lead, as they are written.
    pub(crate) links: Vec<String>,
    /// Its fenced blocks: language and text.
    pub(crate) blocks: Vec<(String, String)>,
    /// Its pieces of code within a line.
    pub(crate) spans: Vec<String>,
}

impl Page {
    /// All pages of the checkout.
    pub(crate) fn all() -> Vec<Self> {
        let mut paths = Vec::new();
        find(Path::new(""), &mut paths);
        paths.sort();
        paths.into_iter().map(Self::read).collect()
    }

    /// The page at `path`, below the root of the checkout.
    pub(crate) fn read(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let text = fs::read_to_string(root().join(&path)).unwrap();
        let mut page = Self {
            path,
            text: text.clone(),
            anchors: BTreeSet::new(),
            links: Vec::new(),
            blocks: Vec::new(),
            spans: Vec::new(),
        };
        page.take_in(Parser::new_ext(&text, Options::ENABLE_TABLES));
        page
    }

    fn take_in<'a>(&mut self, events: impl Iterator<Item = Event<'a>>) {
        let (mut heading, mut is_block) = (None::<String>, false);
        for event in events {
            match event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => self.add_anchor(&heading.take().unwrap()),
                Event::Start(Tag::Link { dest_url, .. }) => self.links.push(dest_url.to_string()),
                Event::Start(Tag::CodeBlock(kind)) => {
                    let language = match &kind {
                        CodeBlockKind::Fenced(language) => language.to_string(),
                        CodeBlockKind::Indented => String::new(),
                    };
                    self.blocks.push((language, String::new()));
                    is_block = true;
                }
                Event::End(TagEnd::CodeBlock) => is_block = false,
                Event::Text(text) if is_block => self.blocks.last_mut().unwrap().1.push_str(&text),
                Event::Text(text) => add(&mut heading, &text),
                Event::Code(code) => {
                    add(&mut heading, &code);
                    self.spans.push(code.to_string());
                }
                _ => {}
            }
        }
    }

    fn add_anchor(&mut self, heading: &str) {
        let heading = heading.trim().to_lowercase();
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let repeated = (1..).map(|number| format!("{anchor}-{number}"));
        let mut candidates = std::iter::once(anchor.clone()).chain(repeated);
        self.anchors.extend(candidates.find(|candidate| !self.anchors.contains(candidate)));
    }
}

fn add(heading: &mut Option<String>, text: &str) {
    if let Some(heading) = heading {
        heading.push_str(text);
    }
}

/// Root of the checkout.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Adds all Markdown below `folder` to `paths`.
fn find(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        let entry = entry.unwrap();
        let (name, path) = (entry.file_name(), folder.join(entry.file_name()));
        let name = name.to_string_lossy();
        if entry.file_type().unwrap().is_dir() {
            if !name.starts_with('.') && name != "target" {
                find(&path, paths);
            }
        } else if path.extension().is_some_and(|extension| extension == "md") {
            paths.push(path);
        }
    }
}
