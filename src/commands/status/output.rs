//! Prints apps as they were found, and then what changes.

use super::apps::Apps;
use super::row::Row;
use super::table::{Look, Table};
use crate::cli::StatusOutput;
use crate::facts::ObjectKey;
use k8s_openapi::jiff::Timestamp;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

/// Where rows go, and what stands there.
#[derive(Debug)]
pub(super) struct Output<W> {
    writer: W,
    format: Format,
    /// The last row that was printed of each app.
    printed: BTreeMap<ObjectKey, Row>,
}

/// How rows are written.
#[derive(Debug)]
pub(super) enum Format {
    Table(Table),
    /// One object with all rows.
    Json,
    /// A row on each line.
    JsonLines,
}

impl Format {
    /// What `output` asks for on standard output. With `is_watch`, more may follow what is there at first.
    pub(super) fn new(output: Option<StatusOutput>, is_watch: bool) -> Self {
        match output {
            Some(StatusOutput::Json) if is_watch => Self::JsonLines,
            Some(StatusOutput::Json) => Self::Json,
            Some(StatusOutput::Wide) => Self::Table(Table::new(look(true))),
            None => Self::Table(Table::new(look(false))),
        }
    }
}

impl<W: Write> Output<W> {
    /// Nothing printed yet.
    pub(super) fn new(writer: W, format: Format) -> Self {
        Self { writer, format, printed: BTreeMap::new() }
    }

    /// What was written to.
    #[cfg(test)]
    pub(super) fn into_writer(self) -> W {
        self.writer
    }

    /// Prints all apps of `namespace`, or of all namespaces. Returns whether anybody still reads.
    pub(super) fn begin(&mut self, apps: &Apps, namespace: Option<&str>) -> bool {
        let keys = apps.by_urgency();
        if keys.is_empty() && matches!(self.format, Format::Table(_)) {
            match namespace {
                Some(namespace) => eprintln!("No apps found in {namespace} namespace."),
                None => eprintln!("No apps found."),
            }
            return true;
        }
        let rows: Vec<Row> = keys.iter().filter_map(|key| apps.row(key)).collect();
        self.printed = keys.into_iter().zip(rows.iter().cloned()).collect();
        self.print(&rows)
    }

    /// Prints what is new of the apps `touched`, the last of those that are none any more included. Returns whether anybody
    /// still reads.
    pub(super) fn update(&mut self, apps: &Apps, touched: &BTreeSet<ObjectKey>) -> bool {
        let rows: Vec<Row> = touched.iter().filter_map(|key| self.news(apps, key)).collect();
        rows.is_empty() || self.print(&rows)
    }

    /// The row to print of an app, if it is not the one that was printed last.
    fn news(&mut self, apps: &Apps, key: &ObjectKey) -> Option<Row> {
        match apps.row(key) {
            None => self.printed.remove(key).map(Row::into_gone),
            Some(row) if self.printed.get(key) == Some(&row) => None,
            Some(row) => {
                self.printed.insert(key.clone(), row.clone());
                Some(row)
            }
        }
    }

    fn print(&mut self, rows: &[Row]) -> bool {
        self.write(rows).is_ok()
    }

    fn write(&mut self, rows: &[Row]) -> std::io::Result<()> {
        let writer = &mut self.writer;
        match &mut self.format {
            Format::Table(table) => {
                writer.write_all(table.lines(rows, Timestamp::now().as_second()).as_bytes())?;
            }
            Format::Json => {
                serde_json::to_writer_pretty(&mut *writer, &Items { items: rows })?;
                writeln!(writer)?;
            }
            Format::JsonLines => {
                for row in rows {
                    serde_json::to_writer(&mut *writer, row)?;
                    writeln!(writer)?;
                }
            }
        }
        writer.flush()
    }
}

/// All apps as one JSON object, which has room for more beside them.
#[derive(Serialize)]
struct Items<'a> {
    items: &'a [Row],
}

/// Lines end, and have colours, only where a terminal shows them.
fn look(is_wide: bool) -> Look {
    let stdout = std::io::stdout();
    let width = terminal_size::terminal_size_of(&stdout).map(|(width, _)| usize::from(width.0));
    let has_colour = anstream::AutoStream::choice(&stdout) != anstream::ColorChoice::Never;
    Look { is_wide, width, has_colour }
}
