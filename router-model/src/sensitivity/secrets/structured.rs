//! Credentials with a structure of their own: PEM blocks (RFC 7468), JSON web tokens (RFC 7519), URLs with user
//! information (RFC 3986 section 3.2.1), webhook URLs, bot tokens, connection strings, HTTP authorization.

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use policies::EntityKind::Username;
use regex::Regex;

use super::strength::{entropy, looks_random, placeholder, repeated, strong};
use crate::sensitivity::decode::from_base64;
use crate::sensitivity::doc::{Doc, Sink};
use crate::sensitivity::{DetectorError, Raw};

/// Longest PEM block that is read as one.
const PEM_MAX: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Structured {
    /// Name and pattern.
    shapes: Vec<(&'static str, Regex)>,
    /// The literal of each shape, so that one pass tells which shapes a text can hold.
    literals: AhoCorasick,
}

impl Structured {
    pub(super) fn new() -> Result<Self, DetectorError> {
        // Name, a literal that every match holds, and the pattern. The first group is the secret where there is one.
        let shapes: &[(&'static str, &'static str, &str)] = &[
            (
                "slack_webhook",
                "hooks.slack.com/",
                r"hooks\.slack\.com/(?:services|workflows|triggers)/([A-Za-z0-9+/_-]{20,120})",
            ),
            (
                "discord_webhook",
                "/api/webhooks/",
                r"discord(?:app)?\.com/api/webhooks/(\d{15,22}/[\w-]{40,100})",
            ),
            (
                "teams_webhook",
                "/IncomingWebhook/",
                r"(?:https://)?[\w.-]+/webhook(?:b2)?/([\w@-]{30,90}/IncomingWebhook/[\w-]+(?:/[\w-]+)?)",
            ),
            ("telegram_token", ":AA", r"\b(\d{8,10}:AA[\w-]{32,34})\b"),
            ("discord_token", ".G", r"\b([MNO][A-Za-z\d_-]{23,27}\.[\w-]{6}\.[\w-]{27,40})\b"),
            ("mailchimp_key", "-us", r"\b([0-9a-f]{32}-us\d{1,2})\b"),
            ("azure_secret", "Q~", r"\b([\w~.-]{3}\dQ~[\w~.-]{31,34})"),
            ("azure_storage_key", "==", r"(?:^|[^A-Za-z0-9+/-])([A-Za-z0-9+/]{86}==)"),
            ("azure_key", "JQQJ", r"\b([A-Za-z0-9]{52}JQQJ9[A-Za-z0-9]{27})\b"),
            ("azure_key", "AzSe", r"\b([A-Za-z0-9]{42}AzSe[A-Za-z0-9]{6,10})\b"),
            (
                "azure_key",
                "+A",
                r"\b([A-Za-z0-9+/]{33,44}\+A(?:RmD|Eh[A-Z]|SbC?|CRC|CDb|MAI|IoT|zFu)[A-Za-z0-9+/]{1,9}=)",
            ),
            ("airtable_token", "pat", r"\b(pat[A-Za-z0-9]{14}\.[0-9a-f]{64})\b"),
            ("asana_token", "/1", r"\b([012]/\d{12,20}(?:/\d{12,20})?:[0-9a-f]{32})\b"),
            ("zoho_token", "1000.", r"\b(1000\.[0-9a-f]{32}\.[0-9a-f]{32})\b"),
            ("kubernetes_token", "token", r"token[\w -]{0,12}[ =:]+([a-z0-9]{6}\.[a-z0-9]{16})\b"),
            ("azure_devops_token", "AZDO", r"\b([A-Za-z0-9]{72,76}AZDO[A-Za-z0-9]{4})\b"),
            ("onepassword_key", "A3-", r"\b(A3-[A-Z0-9]{6}-[A-Z0-9]{5,11}(?:-[A-Z0-9]{5}){3,4})\b"),
            ("vault_unseal_key", "seal Key", r"(?:Uns|S)eal Key(?: \d)?: ?([A-Za-z0-9+/=]{40,48})"),
            ("twitch_stream_key", "live_", r"\b(live_\d{6,12}_[A-Za-z0-9]{28,34})\b"),
            ("newrelic_license", "NRAL", r"\b([A-Za-z0-9]{36}NRAL)\b"),
            ("netrc_password", "machine", r"(?m)machine\s+\S+\s+login\s+\S+\s+password\s+(\S+)"),
            ("bcrypt_hash", "$2", r"(\$2[abxy]\$\d\d\$[./A-Za-z0-9]{53})"),
            ("unix_hash", "$6$", r"(\$6\$[./A-Za-z0-9$=]{4,40}\$[./A-Za-z0-9]{86})"),
            ("unix_hash", "$5$", r"(\$5\$[./A-Za-z0-9$=]{4,40}\$[./A-Za-z0-9]{43})"),
            ("unix_hash", "$1$", r"(\$1\$[./A-Za-z0-9]{1,8}\$[./A-Za-z0-9]{22})"),
            ("unix_hash", "$apr1$", r"(\$apr1\$[./A-Za-z0-9]{1,8}\$[./A-Za-z0-9]{22})"),
            ("unix_hash", "$y$", r"(\$g?y\$[./A-Za-z0-9]{2,8}\$[./A-Za-z0-9]{4,86}\$[./A-Za-z0-9]{43})"),
            ("argon2_hash", "$argon2", r"(\$argon2(?:id|i|d)\$[A-Za-z0-9$=,+/]{30,200})"),
            ("pbkdf2_hash", "pbkdf2_sha", r"pbkdf2_sha\d+\$\d+\$([A-Za-z0-9+/=$]{30,160})"),
            ("ldap_hash", "SHA", r"(\{(?:SSHA|SHA|SMD5|SSHA256|SSHA512)\}[A-Za-z0-9+/]{20,120}={0,2})"),
            ("windows_hash", ":::", r"\b\d{3,5}:([0-9a-fA-F]{32}:[0-9a-fA-F]{32}):::"),
            ("signed_url", "ignature=", r"(?:X-Amz-|X-Goog-)Signature=([0-9a-fA-F]{32,600})"),
            ("signed_url", "sig=", r"[?&;]sig=([A-Za-z0-9%+/]{40,60}(?:=|%3[dD])?)"),
            (
                "session_cookie",
                "ookie:",
                r"(?i)cookie: ?(?:[\w.-]+=[^;\s]*; ?){0,6}[\w.-]*(?:sess|sid|auth|token|jwt|login|remember)[\w.-]*=([^;\s]{16,600})",
            ),
            (
                "authorization",
                "uthorization",
                r#"(?i)authorization["']?\s*[:=]\s*["']?(?:basic|bearer|token|apikey|api-key|negotiate|ssws|key) +([\w.~+/=-]{12,4000})"#,
            ),
            ("authorization", "Digest ", r#"Digest [^\n]{1,300}\bresponse="([0-9a-f]{32,64})""#),
            ("cli_password", "sshpass", r#"sshpass -p ?["']?([^\s"']{3,80})"#),
            ("cli_password", "redis-cli", r#"redis-cli [^\n]{0,80}-a ["']?([^\s"']{4,80})"#),
            ("cli_password", "/pass:", r#"/pass(?:word)?:["']?([^\s"']{4,80})"#),
            (
                "cli_password",
                "/user:",
                r"(?:net use|cmdkey|runas|psexec)[^\n]{0,80}/user:\S+ ([^\s/]\S{3,80})",
            ),
            ("cli_password", "--user", r#"--user[= ]["']?[\w.@\\-]{1,60}:["']?([^\s"']{4,80})"#),
            ("url_password", "jdbc:oracle", r"jdbc:oracle:thin:[\w.]{1,40}/([^@\s/]{3,60})@"),
            ("totp_secret", "otpauth://", r"otpauth://[^\s]{0,200}[?&]secret=([A-Z2-7]{12,64})"),
            ("harness_token", "pat.", r"\b([ps]at\.[A-Za-z0-9_-]{22}\.[0-9a-f]{24}\.[A-Za-z0-9]{20})\b"),
            ("clickup_token", "pk_", r"\b(pk_\d{6,10}_[A-Z0-9]{32})\b"),
            ("salesforce_token", "00D", r"\b(00D[A-Za-z0-9]{12,15}![\w.]{60,140})"),
            ("maxmind_key", "_mmk", r"\b([A-Za-z0-9]{6}_[A-Za-z0-9]{29}_mmk)\b"),
            ("okta_token", "SSWS", r"SSWS ([0-9A-Za-z_-]{38,44})"),
            ("thingsboard_token", "/api/v1/", r"thingsboard\.[\w.:-]{2,40}/api/v1/([A-Za-z0-9]{20})\b"),
            (
                "sonar_token",
                "sonar.",
                r#"sonar\.(?:login|token|password)["']?\s*[,:=]\s*["']?([0-9a-f]{40})\b"#,
            ),
            ("vault_unseal_key", "unseal", r"operator unseal ([A-Za-z0-9+/=]{40,48})"),
            (
                "google_oauth_client",
                ".apps.googleusercontent.com",
                r"\b(\d{8,14}-[a-z0-9]{20,40}\.apps\.googleusercontent\.com)\b",
            ),
            (
                "cli_password",
                " -u",
                r#"(?:^|[\s'"])-u ?["']?[\w.@\\-]{1,60}(?::|["']? (?:-p ?|--password[= ]))["']?([^\s"'%$][^\s"']{3,80})"#,
            ),
            ("cli_password", "pass:", r"(?:^|[\s=])(?:-\w+ )?pass:([^\s'\x22\\]{4,80})"),
            (
                "network_credential",
                "NetworkCredential",
                r#"NetworkCredential\(\s*"[^"]{1,80}"\s*,\s*"([^"]{4,120})""#,
            ),
            (
                "directory_entry",
                "DirectoryEntry",
                r#"DirectoryEntry\([^"]*"[^"]*"\s*,\s*"[^"]*"\s*,\s*"([^"]{4,120})""#,
            ),
            ("sql_password", "IDENTIFIED BY", r#"(?i)IDENTIFIED BY ['"]?([^\s'";]{3,80})"#),
            ("sql_password", "identified by", r#"identified by ['"]?([^\s'";]{3,80})"#),
            ("odbc_password", "wd=", r#"(?i)(?:^|[;'"\s])pwd=["']?([^;"'\s]{3,80})"#),
            (
                "login_pair",
                " / ",
                r"(?i)(?:login|user(?:name)?|account|credentials?|log in with|sign in with|anmelden mit)(?: (?:is|are|ist|es))?:? ([\w.@-]{3,40}) / (\S{4,60})",
            ),
            (
                "login_pair",
                "redential",
                r"(?i)(?:credentials?|creds|login|zugangsdaten|identifiants|credenciales)(?: (?:is|are|sind|son|sont))?:? ([\w.@-]{3,40}):([^\s/:]{6,60})",
            ),
        ];
        let literals = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::DFA))
            .build(shapes.iter().map(|(_, literal, _)| literal))?;
        let shapes = shapes
            .iter()
            .map(|(name, _, pattern)| Ok((*name, ascii(pattern)?)))
            .collect::<Result<_, regex::Error>>()?;
        Ok(Self { shapes, literals })
    }

    pub(super) fn find(&self, doc: &Doc<'_>, out: &mut Sink) {
        pem(doc, out);
        jwt(doc, out);
        for at in memchr::memmem::find_iter(doc.b, b"://") {
            user_info(doc, at, out);
        }
        let mut held = vec![false; self.shapes.len()];
        for m in self.literals.find_overlapping_iter(doc.b) {
            held[m.pattern().as_usize()] = true;
        }
        for ((name, pattern), _) in self.shapes.iter().zip(held).filter(|(_, held)| *held) {
            for c in pattern.captures_iter(doc.t) {
                let Some(m) = c.iter().flatten().last() else { continue };
                let v = m.as_str();
                let formed =
                    name.ends_with("_hash") || matches!(*name, "signed_url" | "authorization" | "basic_auth");
                if !strong(v) && !formed && placeholder(v)
                    || repeated(v)
                    || *name == "login_pair" && !looks_random(v)
                {
                    continue;
                }
                if *name == "login_pair"
                    && let Some(user) = c.get(1)
                {
                    out.push(Raw::new(user.start(), user.end(), Username, 0.8));
                }
                let end = m.start() + m.as_str().trim_end_matches([',', ';', '.', ')']).len();
                out.push(Raw::secret(m.start(), end, name, if *name == "cli_password" { 0.7 } else { 0.9 }));
            }
        }
    }
}

/// Compiles a pattern whose classes are meant for ASCII: the Unicode ones are many times larger, and slower at word
/// boundaries.
pub(super) fn ascii(pattern: &str) -> Result<Regex, regex::Error> {
    let pattern = pattern
        .replace(r"\w", "[0-9A-Za-z_]")
        .replace(r"\d", "[0-9]")
        .replace(r"\s", r"[ \t\r\n]")
        .replace(r"\S", r"[^ \t\r\n]")
        .replace(r"\b", r"(?-u:\b)");
    Regex::new(&pattern)
}

/// Private key blocks, also where line ends are escaped or the end is cut off.
fn pem(doc: &Doc<'_>, out: &mut Sink) {
    let mut done = 0;
    for at in memchr::memmem::find_iter(doc.b, b"-----BEGIN ") {
        let head = doc.window(at, 64);
        let private = head.contains("PRIVATE KEY");
        if at < done || !private {
            continue;
        }
        let body = doc.window(at, PEM_MAX);
        let close = body.find("-----END ").and_then(|p| body[p + 9..].find("-----").map(|q| p + 9 + q + 5));
        let open = || {
            let first = head.find("KEY").unwrap_or(0) + 3;
            first
                + body[first..]
                    .bytes()
                    .take_while(|c| c.is_ascii_alphanumeric() || b"+/=\n\r- \\:,\"'".contains(c))
                    .count()
        };
        let len = close.unwrap_or_else(open);
        let material = body[..len].bytes().filter(u8::is_ascii_alphanumeric).count();
        if material >= 64 && !body[..len].contains("...") {
            out.push(Raw::secret(at, at + len, "private_key", 0.99));
        }
        done = at + len;
    }
    // The same header behind Base64.
    for head in [&b"LS0tLS1CRUdJTi"[..]] {
        for at in memchr::memmem::find_iter(doc.b, head) {
            let len = doc.b[at..]
                .iter()
                .take(PEM_MAX)
                .take_while(|c| c.is_ascii_alphanumeric() || b"+/=".contains(c))
                .count();
            let start = from_base64(&doc.b[at..at + len.min(80) / 4 * 4]).unwrap_or_default();
            if String::from_utf8_lossy(&start).contains("PRIVATE") {
                out.push(Raw::secret(at, at + len, "private_key", 0.97));
            }
        }
    }
}

/// Three Base64url parts, the first of which is a JSON object that names an algorithm.
fn jwt(doc: &Doc<'_>, out: &mut Sink) {
    let mut done = 0;
    for at in memchr::memmem::find_iter(doc.b, b"eyJ") {
        if at < done || doc.prev(at).is_ascii_alphanumeric() {
            continue;
        }
        // The header is short; the rest is read only when it is one.
        let part = |c: &u8| c.is_ascii_alphanumeric() || b"_-=".contains(c);
        let head = doc.b[at..].iter().take(2048).take_while(|c| part(c)).count();
        let header = from_base64(&doc.b[at..at + head]).unwrap_or_default();
        let header = String::from_utf8_lossy(&header);
        let named = header.contains("\"alg\"") || header.contains("\"enc\"") || header.contains("\"typ\"");
        if !header.starts_with('{') || !named {
            continue;
        }
        let len = doc.b[at..].iter().take(16_384).take_while(|c| part(c) || **c == b'.').count();
        let token = doc.t[at..at + len].trim_end_matches(['.', '=', '-']);
        if token.split('.').nth(1).is_some_and(|payload| payload.len() >= 8) {
            out.push(Raw::secret(at, at + token.len(), "jwt", 0.97));
            done = at + token.len();
        }
    }
}

/// `scheme://user:password@host`: the password is the secret, the user a user name.
fn user_info(doc: &Doc<'_>, at: usize, out: &mut Sink) {
    let from = at + 3;
    let rest = doc.window(from, 300);
    let end = rest.find(|c: char| c.is_whitespace() || "\"'`<>".contains(c)).unwrap_or(rest.len());
    let authority = &rest[..end];
    // A password may hold '/', '?' or '#' unescaped; the last '@' before the path's host decides.
    let strict = authority.find(['/', '?']).unwrap_or(authority.len());
    let Some(sign) = authority[..strict].rfind('@').or_else(|| authority.find('@')) else { return };
    let Some((user, pass)) = authority[..sign].split_once(':') else {
        let token = &authority[..sign];
        if strong(token) && !token.contains('/') {
            out.push(Raw::secret(from, from + sign, "url_token", 0.85));
        }
        return;
    };
    let host = &authority[sign + 1..];
    let known = user.contains('/') || user.len() > 80 || pass.is_empty() || pass.starts_with("//");
    let lower = pass.to_ascii_lowercase();
    let stand_in = placeholder(pass) && !matches!(lower.as_str(), "postgres" | "root" | "admin" | "guest")
        || ["pass", "password", "pw", "pwd", "secret", "user"].contains(&lower.as_str());
    if known || stand_in || host.is_empty() && !rest[end..].starts_with('"') {
        return;
    }
    let s = from + user.len() + 1;
    let weak = pass.len() < 3 || user == pass;
    out.push(Raw::secret(s, s + pass.len(), "url_password", if weak { 0.5 } else { 0.93 }));
    if user.len() >= 2 && !user.starts_with(['$', '{', '<', '%']) && entropy(user) > 0.0 {
        out.push(Raw::new(from, from + user.len(), Username, 0.7));
    }
}
