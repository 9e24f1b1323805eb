//! Files of one JSON object a line, as batch commands read them: what cannot be read is kept with its line
//! number, the rest goes on, and the exit code tells in the end.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use serde::Serialize;

use super::{CliError, say};

/// Bad lines that are kept; more are counted.
const FAULTS_MAX: usize = 20;

/// A line that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct LineFault {
    /// Its number, from 1.
    pub(super) line: usize,
    /// What is wrong with it.
    pub(super) error: String,
}

/// What a file holds.
#[derive(Debug)]
pub(super) struct Lines<T> {
    pub(super) items: Vec<T>,
    pub(super) faults: Vec<LineFault>,
    pub(super) faults_beyond: usize,
}

impl<T> Lines<T> {
    /// Items that came from elsewhere.
    pub(super) const fn of(items: Vec<T>) -> Self {
        Self { items, faults: Vec::new(), faults_beyond: 0 }
    }

    /// Reads a file, `-` being standard input; one that ends in `.gz` is unpacked.
    pub(super) fn read(path: &Path, parse: impl FnMut(&[u8]) -> Result<T, String>) -> Result<Self, CliError> {
        let fault = |error: std::io::Error| CliError::Fault(format!("{}: {error}", path.display()));
        if path.as_os_str() == "-" {
            return Self::from(std::io::stdin().lock(), parse).map_err(fault);
        }
        if path.extension().is_some_and(|extension| extension == "gz") {
            let packed = MultiGzDecoder::new(File::open(path).map_err(fault)?);
            return Self::from(BufReader::new(packed), parse).map_err(fault);
        }
        Self::from(BufReader::new(File::open(path).map_err(fault)?), parse).map_err(fault)
    }

    fn from(
        mut input: impl BufRead,
        mut parse: impl FnMut(&[u8]) -> Result<T, String>,
    ) -> std::io::Result<Self> {
        let mut found = Self::of(Vec::new());
        let mut text = Vec::new();
        for line in 1.. {
            text.clear();
            if input.read_until(b'\n', &mut text)? == 0 {
                break;
            }
            if text.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            match parse(&text) {
                Ok(item) => found.items.push(item),
                Err(error) => found.fault(line, error),
            }
        }
        Ok(found)
    }

    fn fault(&mut self, line: usize, error: String) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(LineFault { line, error });
        } else {
            self.faults_beyond += 1;
        }
    }

    /// Tells the bad lines on standard error.
    pub(super) fn report_faults(&self) {
        for LineFault { line, error } in &self.faults {
            say(&format!("line {line}: {error}"));
        }
        if self.faults_beyond > 0 {
            say(&format!("and {} more bad lines", self.faults_beyond));
        }
    }

    /// Could every line be read?
    pub(super) fn all_well(&self) -> bool {
        self.faults.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_lines_keep_their_numbers_and_the_rest_goes_on() {
        let parse = |line: &[u8]| serde_json::from_slice::<u32>(line).map_err(|error| error.to_string());
        let text = format!("1\n\n{{\n3\n{}4", "x\n".repeat(30));
        let found = Lines::from(text.as_bytes(), parse).unwrap();
        assert_eq!(found.items, [1, 3, 4]);
        assert_eq!((found.faults[0].line, found.faults[1].line), (3, 5));
        assert_eq!((found.faults.len(), found.faults_beyond), (20, 11));
        assert!(!found.all_well());
    }
}
