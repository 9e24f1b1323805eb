//! Spend reports: settled rows, grouped, with what they would have cost without the gateway.

use policies::Money;
use rusqlite::params;
use serde::Serialize;

use super::store::{LedgerError, Store};

/// What to group by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Grouping {
    /// Team that pays.
    Team,
    /// Route taken.
    Route,
    /// Model that answered.
    Model,
    /// Virtual key.
    Key,
    /// End user.
    User,
    /// Tag; a request with several tags counts under each.
    Tag,
    /// Calendar day (UTC).
    Day,
}

impl Grouping {
    const fn expression(self) -> &'static str {
        match self {
            Self::Team => "team",
            Self::Route => "CASE route WHEN '' THEN '(' || outcome || ')' ELSE route END",
            Self::Model => "CASE served_model WHEN '' THEN '(' || outcome || ')' ELSE served_model END",
            Self::Key => "key",
            Self::User => "user",
            Self::Tag => "tag.value",
            Self::Day => "strftime('%Y-%m-%d', time_ms / 1000, 'unixepoch')",
        }
    }

    /// Heading of the first column.
    #[must_use]
    pub const fn heading(self) -> &'static str {
        match self {
            Self::Team => "team",
            Self::Route => "route",
            Self::Model => "model",
            Self::Key => "key",
            Self::User => "user",
            Self::Tag => "tag",
            Self::Day => "day",
        }
    }
}

/// One group.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReportLine {
    /// Value of the group; empty where the requests had none.
    pub group: String,
    /// Requests.
    pub requests: u64,
    /// Of them, answered on the embedded model.
    pub local: u64,
    /// Of them, completed.
    pub completed: u64,
    /// Input tokens.
    pub input_tokens: u64,
    /// Output tokens.
    pub output_tokens: u64,
    /// Cost, nano-dollars.
    pub cost: Money,
    /// What they would have cost, where that price is known.
    pub baseline: Money,
    /// Baseline less cost, over the requests for which both are known.
    pub saving: Money,
    /// Requests served by a model without a price: their cost is missing above.
    pub unpriced: u64,
    /// Joules of local inference (modelled).
    pub energy_joules: f64,
}

/// A report with its total.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Groups, dearest first.
    pub lines: Vec<ReportLine>,
    /// All of them together; requests with several tags count once here.
    pub total: ReportLine,
}

/// A shadow is no request of a client's: it counts where money, tokens and energy are counted, and lowers what was
/// saved.
const MEASURES: &str = "COALESCE(SUM(shadow_of = ''), 0), COALESCE(SUM(route = 'local' AND shadow_of = ''), 0), \
    COALESCE(SUM(outcome = 'completed' AND shadow_of = ''), 0), \
    COALESCE(SUM(input_tokens), 0), COALESCE(SUM(output_tokens), 0), COALESCE(SUM(cost_nanos), 0), \
    COALESCE(SUM(baseline_nanos), 0), \
    COALESCE(SUM(CASE shadow_of WHEN '' THEN baseline_nanos ELSE 0 END - cost_nanos), 0), \
    COALESCE(SUM(route <> '' AND cost_nanos IS NULL), 0), COALESCE(SUM(energy_joules), 0.0)";

impl Store {
    /// Groups the settled rows of `[from_ms, to_ms)`.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`].
    pub fn report(&self, by: Grouping, from_ms: i64, to_ms: i64) -> Result<Report, LedgerError> {
        let fail = |source| self.fail(source);
        let group = by.expression();
        let source = if by == Grouping::Tag {
            "requests, json_each('[\"' || replace(replace(tags, '\"', ''), ',', '\",\"') || '\"]') AS tag"
        } else {
            "requests"
        };
        let period = "state = 'settled' AND time_ms >= ?1 AND time_ms < ?2";
        let sql = format!(
            "SELECT {group}, {MEASURES} FROM {source} WHERE {period} GROUP BY 1 ORDER BY {}",
            if by == Grouping::Day { "1" } else { "7 DESC, 2 DESC, 1" }
        );
        let mut statement = self.connection.prepare(&sql).map_err(fail)?;
        let rows = statement.query_map(params![from_ms, to_ms], read_line).map_err(fail)?;
        let lines = rows.collect::<Result<Vec<_>, _>>().map_err(fail)?;
        let total = self
            .connection
            .query_row(
                &format!("SELECT 'total', {MEASURES} FROM requests WHERE {period}"),
                params![from_ms, to_ms],
                read_line,
            )
            .map_err(fail)?;
        Ok(Report { lines, total })
    }
}

fn read_line(row: &rusqlite::Row<'_>) -> rusqlite::Result<ReportLine> {
    let count = |index: usize| row.get::<_, i64>(index).map(|n| u64::try_from(n).unwrap_or(0));
    Ok(ReportLine {
        group: row.get(0)?,
        requests: count(1)?,
        local: count(2)?,
        completed: count(3)?,
        input_tokens: count(4)?,
        output_tokens: count(5)?,
        cost: Money::from_nanos(row.get(6)?),
        baseline: Money::from_nanos(row.get(7)?),
        saving: Money::from_nanos(row.get(8)?),
        unpriced: count(9)?,
        energy_joules: row.get(10)?,
    })
}

/// Start of the calendar month (UTC) that a time is in, Unix milliseconds.
#[must_use]
pub fn month_start_ms(time_ms: i64) -> i64 {
    let start = |time_ms: i64| {
        let date = jiff::Timestamp::from_millisecond(time_ms).ok()?.to_zoned(jiff::tz::TimeZone::UTC).date();
        let first = date.first_of_month().to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        Some(first.timestamp().as_millisecond())
    };
    start(time_ms).unwrap_or(0)
}

/// A day (`2026-11-22`, midnight UTC) or a timestamp (RFC 3339) as Unix milliseconds.
///
/// # Errors
/// A sentence for the caller.
pub fn parse_day(text: &str) -> Result<i64, String> {
    let day = || {
        let date: jiff::civil::Date = text.parse().ok()?;
        Some(date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    };
    text.parse::<jiff::Timestamp>().ok().or_else(day).map(jiff::Timestamp::as_millisecond).ok_or_else(|| {
        format!("`{text}` is neither a day (2026-11-22) nor a timestamp (2026-11-22T08:00:00Z)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Row;

    #[test]
    fn groups_add_up_to_the_total_and_unpriced_rows_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(&dir.path().join("l.db")).unwrap();
        let row = |id: &str, team: &str, route: &str, cost: Option<i64>, tags: &str| {
            let row = Row {
                team: team.into(),
                route: route.into(),
                tags: tags.into(),
                cost: cost.map(Money::from_nanos),
                baseline: Some(Money::from_nanos(100)),
                ..Row::new(id.into(), 1_700_000_000_000)
            };
            (row, true)
        };
        let rows = [
            row("1", "a", "local", Some(0), "x,y"),
            row("2", "a", "cloud:o", Some(60), "x"),
            row("3", "b", "cloud:o", None, ""),
        ];
        store.write(&rows).unwrap();
        let report = store.report(Grouping::Team, 0, i64::MAX).unwrap();
        assert_eq!(report.lines.len(), 2);
        assert_eq!(report.total.cost.nanos(), report.lines.iter().map(|l| l.cost.nanos()).sum::<i64>());
        assert_eq!((report.total.requests, report.total.local, report.total.unpriced), (3, 1, 1));
        assert_eq!(report.total.saving.nanos(), 100 + 40);
        let tags = store.report(Grouping::Tag, 0, i64::MAX).unwrap();
        let x = tags.lines.iter().find(|line| line.group == "x").unwrap();
        assert_eq!((x.requests, tags.total.requests), (2, 3));
        let day = store.report(Grouping::Day, 0, i64::MAX).unwrap();
        assert_eq!(day.lines[0].group, "2023-11-14");
    }

    #[test]
    fn shadows_cost_and_are_no_requests() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(&dir.path().join("l.db")).unwrap();
        let served = Row {
            route: "local".into(),
            cost: Some(Money::ZERO),
            baseline: Some(Money::from_nanos(100)),
            ..Row::new("1".into(), 5)
        };
        let shadow = Row {
            route: "cloud:o".into(),
            cost: Some(Money::from_nanos(30)),
            shadow_of: "1".into(),
            ..Row::new("2".into(), 5)
        };
        store.write(&[(served, true), (shadow, true)]).unwrap();
        let total = store.report(Grouping::Team, 0, i64::MAX).unwrap().total;
        assert_eq!((total.requests, total.local), (1, 1));
        assert_eq!((total.cost.nanos(), total.saving.nanos()), (30, 70));
    }

    #[test]
    fn periods_are_read() {
        assert_eq!(parse_day("1970-01-02"), Ok(86_400_000));
        assert_eq!(parse_day("1970-01-01T00:00:01Z"), Ok(1_000));
        assert!(parse_day("yesterday").is_err());
        assert_eq!(month_start_ms(86_400_000 * 40), 86_400_000 * 31);
    }
}
