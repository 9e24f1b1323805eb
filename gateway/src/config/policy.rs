//! Policies that are files, with the lists of terms that they name.

use std::fs;
use std::path::Path;

use policies::{Faults, PolicySet};

/// Largest list of terms that is read, in bytes: more than the most literals of the longest length.
const TERMS_FILE_BYTES_MAX: u64 = 4 << 20;

/// Reads and compiles a policy; files that it names lie beside it.
///
/// # Errors
/// Every fault, with file, line and key.
pub fn parse(path: &str, text: &str) -> Result<PolicySet, Faults> {
    let folder = Path::new(path).parent().unwrap_or_else(|| Path::new(""));
    PolicySet::parse_with(path, text, &|name| read(&folder.join(name)))
}

fn read(path: &Path) -> Result<String, String> {
    let length = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > TERMS_FILE_BYTES_MAX {
        return Err(format!("it has {length} bytes; at most {TERMS_FILE_BYTES_MAX} are read"));
    }
    fs::read_to_string(path).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use policies::{CallerFacts, Label};
    use router_model::{Classifier, Prompt};

    use crate::config::{Config, Overrides};

    #[test]
    fn a_list_beside_the_policy_is_read_and_its_terms_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("names.txt"), "# customers\nBlue Heron\n").unwrap();
        let policy = "name = 'x'\n[[term]]\nname = 'names'\nfile = 'names.txt'\nlabel = 'restricted'\n";
        std::fs::write(at("p.toml"), policy).unwrap();
        let text = format!("[policy]\nfile = '{}'\n", at("p.toml").display());
        let config = Config::parse("c.toml", &text, &Overrides::default()).unwrap();
        let classifier = Classifier::new(config.classifier()).unwrap();
        let label = |text: &str| {
            let profile = classifier.classify(&Prompt::from_text(text));
            config.policy.label(&profile.sensitivity, &CallerFacts::default()).label
        };
        assert_eq!(label("what do we owe to blue  heron?"), Label::Restricted);
        assert_eq!(label("what do we owe to whom?"), Label::Public);
        std::fs::remove_file(at("names.txt")).unwrap();
        let error = Config::parse("c.toml", &text, &Overrides::default()).unwrap_err().to_string();
        assert!(error.contains("p.toml:4: term.0.file: names.txt could not be read"), "{error}");
    }
}
