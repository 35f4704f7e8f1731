//! Rows as text, in the format of kubectl: upper-case headers, three spaces between columns, no lines.

use super::age;
use super::row::{Outpost, Row, Urgency};
use anstyle::{AnsiColor, Style};

/// Hosts that are written out unless the table is wide; as many as kubectl does.
const MAX_HOSTS: usize = 3;

/// The message keeps so many characters, however narrow the terminal.
const MIN_MESSAGE: usize = 40;

/// What stands between two columns.
const GAP: &str = "   ";

/// How a table is to look.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Look {
    /// All hosts, whole messages, and the class.
    pub(super) is_wide: bool,
    /// Characters in a line of the terminal, to which messages are shortened; `None` for no end.
    pub(super) width: Option<usize>,
    /// Whether to colour the status.
    pub(super) has_colour: bool,
}

/// A table that is printed piece by piece. Its columns keep their width, or grow.
#[derive(Debug)]
pub(super) struct Table {
    look: Look,
    /// Width of each column in characters; empty until the headers are printed.
    widths: Vec<usize>,
}

/// The place of a text in its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Namespace,
    Name,
    Class,
    Hosts,
    Outpost,
    Route,
    Status,
    Message,
    Age,
}

impl Column {
    fn header(self) -> &'static str {
        match self {
            Self::Namespace => "NAMESPACE",
            Self::Name => "NAME",
            Self::Class => "CLASS",
            Self::Hosts => "HOSTS",
            Self::Outpost => "OUTPOST",
            Self::Route => "ROUTE",
            Self::Status => "STATUS",
            Self::Message => "MESSAGE",
            Self::Age => "AGE",
        }
    }

    fn text(self, row: &Row, look: Look, now: i64) -> String {
        let text = match self {
            Self::Namespace => row.namespace.clone(),
            Self::Name => row.name.clone(),
            Self::Class => row.class.as_deref().unwrap_or("<none>").to_owned(),
            Self::Hosts => hosts(&row.hosts, if look.is_wide { usize::MAX } else { MAX_HOSTS }),
            Self::Outpost => match &row.outpost {
                Outpost::Named(name) => name.clone(),
                Outpost::Default => "<default>".to_owned(),
                Outpost::Unknown => "-".to_owned(),
            },
            Self::Route => row.route.map_or_else(|| "-".to_owned(), |check| check.to_string()),
            Self::Status => row.status.as_deref().unwrap_or("<none>").to_owned(),
            Self::Message => row.message.clone().unwrap_or_default(),
            Self::Age => {
                let created = row.created.as_ref().map(|created| created.0.as_second());
                created.map_or_else(|| "<unknown>".to_owned(), |created| age::human(now - created))
            }
        };
        // Whoever may edit an Ingress must not be able to steer the terminals of others.
        text.replace(char::is_control, " ")
    }
}

impl Table {
    /// Nothing printed yet.
    pub(super) fn new(look: Look) -> Self {
        Self { look, widths: Vec::new() }
    }

    /// The lines of `rows`, with ages at `now` in seconds since 1970, and before the first of all the headers.
    pub(super) fn lines(&mut self, rows: &[Row], now: i64) -> String {
        let columns = self.columns();
        let mut lines: Vec<(Vec<String>, Style)> = Vec::new();
        if self.widths.is_empty() {
            self.widths.resize(columns.len(), 0);
            lines.push((columns.iter().map(|column| column.header().to_owned()).collect(), Style::new()));
        }
        lines.extend(rows.iter().map(|row| {
            let texts = columns.iter().map(|column| column.text(row, self.look, now)).collect();
            (texts, if self.look.has_colour { style(row) } else { Style::new() })
        }));
        self.shorten_messages(&columns, &mut lines);
        self.widen(&lines);
        lines.iter().map(|(texts, style)| self.line(&columns, texts, *style)).collect()
    }

    fn columns(&self) -> Vec<Column> {
        use Column::{Age, Class, Hosts, Message, Name, Namespace, Outpost, Route, Status};
        let all = [Namespace, Name, Class, Hosts, Outpost, Route, Status, Message, Age];
        all.into_iter().filter(|column| self.look.is_wide || *column != Class).collect()
    }

    /// Leaves to the messages what the other columns leave of the terminal.
    fn shorten_messages(&self, columns: &[Column], lines: &mut [(Vec<String>, Style)]) {
        let Some(width) = self.look.width.filter(|_| !self.look.is_wide) else { return };
        let Some(message) = columns.iter().position(|column| *column == Column::Message) else { return };
        let width_of = |column: usize| {
            let texts = lines.iter().filter_map(|(texts, _)| texts.get(column));
            texts.map(|text| length(text)).chain(self.widths.get(column).copied()).max().unwrap_or(0)
        };
        let others: usize = (0..columns.len()).filter(|column| *column != message).map(width_of).sum();
        let gaps = GAP.len() * (columns.len() - 1);
        let room = width.saturating_sub(others + gaps).max(MIN_MESSAGE);
        for text in lines.iter_mut().filter_map(|(texts, _)| texts.get_mut(message)) {
            shorten(text, room);
        }
    }

    fn widen(&mut self, lines: &[(Vec<String>, Style)]) {
        for (texts, _) in lines {
            for (width, text) in self.widths.iter_mut().zip(texts) {
                *width = length(text).max(*width);
            }
        }
    }

    fn line(&self, columns: &[Column], texts: &[String], style: Style) -> String {
        let mut line = String::new();
        for ((column, text), width) in columns.iter().zip(texts).zip(&self.widths) {
            let is_last = *column == Column::Age;
            let padding = if is_last { 0 } else { width - length(text) + GAP.len() };
            let style = if *column == Column::Status { style } else { Style::new() };
            line.extend(
                [&style.render().to_string(), text, &style.render_reset().to_string()].map(String::as_str),
            );
            line.extend(std::iter::repeat_n(' ', padding));
        }
        line.push('\n');
        line
    }
}

/// Red for what needs somebody, `Protected` against the evidence included.
fn style(row: &Row) -> Style {
    match row.urgency() {
        Urgency::Trouble => AnsiColor::Red.on_default(),
        Urgency::Waiting if row.status.is_none() => Style::new(),
        Urgency::Waiting => AnsiColor::Yellow.on_default(),
        Urgency::Fine => AnsiColor::Green.on_default(),
    }
}

fn hosts(hosts: &[String], max: usize) -> String {
    match hosts {
        [] => "*".to_owned(),
        _ if hosts.len() <= max => hosts.join(","),
        _ => format!("{} + {} more...", hosts[..max].join(","), hosts.len() - max),
    }
}

fn length(text: &str) -> usize {
    text.chars().count()
}

fn shorten(text: &mut String, room: usize) {
    if length(text) > room {
        *text = text.chars().take(room - 1).chain(['…']).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::injected::Check;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;

    const NOW: i64 = 1_000_000_000;

    fn row(namespace: &str, name: &str, status: Option<&str>) -> Row {
        let is_protected = status == Some("Protected");
        Row {
            namespace: namespace.into(),
            name: name.into(),
            class: Some("nginx".into()),
            hosts: [format!("{name}.example.com")].into(),
            outpost: if is_protected { Outpost::Named("proxy-outpost".into()) } else { Outpost::Default },
            route: is_protected.then_some(Check::Host),
            status: status.map(str::to_owned),
            message: None,
            created: Some(Time(Timestamp::constant(NOW - 312, 0))),
            gone: false,
        }
    }

    fn message(message: &str, row: Row) -> Row {
        Row { message: Some(message.to_owned()), ..row }
    }

    fn rows() -> Vec<Row> {
        let refused = "the annotation nginx.ingress.kubernetes.io/canary is \"true\": a canary takes its auth from the main Ingress";
        let many = ["a.example.com", "b.example.com", "c.example.com", "d.example.com", "e.example.com"];
        vec![
            message(refused, row("shop", "preview", Some("Refused"))),
            Row { hosts: many.map(str::to_owned).into(), class: None, ..row("shop", "cart", None) },
            Row { hosts: [].into(), created: None, ..row("n8n-prd", "n8n", Some("Protected")) },
        ]
    }

    fn text(look: Look, rows: &[Row]) -> String {
        Table::new(look).lines(rows, NOW)
    }

    #[test]
    fn a_table_looks_like_those_of_kubectl() {
        let wanted = "\
NAMESPACE   NAME      HOSTS                                                   OUTPOST         ROUTE   STATUS      MESSAGE                                                                                                      AGE
shop        preview   preview.example.com                                     <default>       -       Refused     the annotation nginx.ingress.kubernetes.io/canary is \"true\": a canary takes its auth from the main Ingress   5m12s
shop        cart      a.example.com,b.example.com,c.example.com + 2 more...   <default>       -       <none>                                                                                                                   5m12s
n8n-prd     n8n       *                                                       proxy-outpost   host    Protected                                                                                                                <unknown>
";
        assert_eq!(text(Look::default(), &rows()), wanted);
    }

    #[test]
    fn a_wide_one_has_all_hosts_and_the_class() {
        let wanted = "\
NAMESPACE   NAME   CLASS    HOSTS                                                                   OUTPOST         ROUTE   STATUS      MESSAGE   AGE
shop        cart   <none>   a.example.com,b.example.com,c.example.com,d.example.com,e.example.com   <default>       -       <none>                5m12s
n8n-prd     n8n    nginx    *                                                                       proxy-outpost   host    Protected             <unknown>
";
        assert_eq!(text(Look { is_wide: true, ..Look::default() }, &rows()[1..]), wanted);
    }

    #[test]
    fn on_a_terminal_messages_get_what_is_left_of_the_line() {
        let wanted = "\
NAMESPACE   NAME      HOSTS                 OUTPOST     ROUTE   STATUS    MESSAGE                                            AGE
shop        preview   preview.example.com   <default>   -       Refused   the annotation nginx.ingress.kubernetes.io/cana…   5m12s
";
        let text = text(Look { width: Some(130), ..Look::default() }, &rows()[..1]);
        assert_eq!(text, wanted);
        assert!(text.lines().all(|line| length(line) <= 130));
    }

    #[test]
    fn a_narrow_terminal_does_not_take_the_message_away() {
        let wanted = "\
NAMESPACE   NAME      HOSTS                 OUTPOST     ROUTE   STATUS    MESSAGE                                    AGE
shop        preview   preview.example.com   <default>   -       Refused   the annotation nginx.ingress.kubernetes…   5m12s
";
        assert_eq!(text(Look { width: Some(80), ..Look::default() }, &rows()[..1]), wanted);
    }

    #[test]
    fn a_wide_table_does_not_mind_the_terminal() {
        let look = Look { is_wide: true, width: Some(80), has_colour: false };
        assert!(text(look, &rows()).contains("takes its auth from the main Ingress"));
    }

    #[test]
    fn lines_that_follow_stay_below_their_headers() {
        let mut table = Table::new(Look::default());
        table.lines(&[row("shop", "cart", Some("Pending"))], NOW);
        let wanted = "\
shop        cart   cart.example.com   proxy-outpost   host    Protected             5m12s
";
        assert_eq!(table.lines(&[row("shop", "cart", Some("Protected"))], NOW), wanted);
        let wanted = "\
shop        a      a.example.com      <default>       -       Pending               5m12s
";
        assert_eq!(table.lines(&[row("shop", "a", Some("Pending"))], NOW), wanted);
    }

    #[test]
    fn colours_are_beside_the_padding() {
        let rows = [
            row("shop", "a", Some("Refused")),
            row("shop", "b", Some("Pending")),
            row("shop", "c", Some("Protected")),
            message("not protected: …", row("shop", "d", Some("Protected"))),
            row("shop", "e", None),
        ];
        let coloured = text(Look { has_colour: true, ..Look::default() }, &rows);
        let statuses = [
            "\u{1b}[31mRefused\u{1b}[0m  ",
            "\u{1b}[33mPending\u{1b}[0m  ",
            "\u{1b}[32mProtected\u{1b}[0m  ",
            "\u{1b}[31mProtected\u{1b}[0m  ",
            "<none>  ",
        ];
        for (line, status) in coloured.lines().skip(1).zip(statuses) {
            assert!(line.contains(status), "{line:?}");
        }
        let plain = coloured.replace("\u{1b}[0m", "");
        let plain =
            ["31", "32", "33"].iter().fold(plain, |text, code| text.replace(&format!("\u{1b}[{code}m"), ""));
        assert_eq!(plain, text(Look::default(), &rows));
    }

    #[test]
    fn an_annotation_cannot_steer_the_terminal() {
        let evil = message("a\u{1b}[2Jb\nc\td", row("shop", "a", Some("Refused")));
        let text = text(Look::default(), &[evil]);
        assert!(text.contains("a [2Jb c d"), "{text:?}");
        assert_eq!(text.lines().count(), 2);
    }
}
