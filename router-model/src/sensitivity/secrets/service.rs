//! An opaque token right behind the name of a service that hands out such tokens.
//!
//! Many services issue keys without a prefix of their own: thirty-two hexadecimal digits, say, as a hash would
//! be. The service's name in the assignment (`datadog_key=...`) is then the only sign.

use aho_corasick::{AhoCorasick, AhoCorasickKind, BuildError, MatchKind};

use super::strength::{entropy, placeholder, repeated};
use crate::sensitivity::Raw;
use crate::sensitivity::doc::{Doc, Sink};

const NAMES: &[&str] = &[
    "airbrake", "airtable", "algolia", "alchemy", "amplitude", "apify", "apollo", "asana", "auth0", "aviationstack", "aws",
    "azure", "bitbucket", "bitly", "blynk", "box", "braintree", "bugsnag", "buildkite", "calendly", "circleci", "clearbit",
    "clickup", "cloudant", "cloudflare", "cloudinary", "cloudsmith", "cloudmersive", "codacy", "codeclimate", "codecov", "cohere", "coinbase", "confluent",
    "contentful", "coveralls", "crowdin", "datadog", "deepgram", "deepai", "detectify", "digitalocean", "discord", "docusign", "doppler", "droneci",
    "dropbox", "dynatrace", "elastic", "elevenlabs", "etherscan", "eventbrite", "facebook", "fastly", "figma", "finnhub", "firebase", "flickr", "foursquare",
    "freshdesk", "front", "gemini", "geoapify", "github", "gitlab", "gitter", "google", "grafana", "gumroad", "harvest", "heroku", "honeycomb", "hubspot",
    "hunter", "ibm", "infura", "instagram", "intercom", "ipinfo", "ipstack", "jenkins", "jfrog", "jira", "jotform", "kraken", "kucoin", "launchdarkly", "linear", "linkedin", "linode",
    "lob", "lokalise", "looker", "mailchimp", "mailgun", "mailjet", "mandrill", "mapbox", "mapquest", "mattermost", "maxmind", "messagebird", "mistral", "mixpanel", "mongodb", "moralis", "netlify",
    "newrelic", "newsapi", "nightfall", "ngrok", "notion", "nytimes", "okta", "openai", "opencage", "openweather", "openweathermap", "opsgenie", "optimizely", "pagerduty", "pandadoc", "particle", "pastebin",
    "paypal", "percy", "pinecone", "pipedrive", "pivotal", "plaid", "planetscale", "polygon", "posthog", "postmark", "pubnub", "pusher", "quay", "rapidapi", "raygun", "razorpay", "recaptcha", "rollbar",
    "salesforce", "sauce", "saucelabs", "scaleway", "scrapinghub", "securitytrails", "segment", "sendbird", "sendgrid", "sendinblue", "sentry", "serpapi", "shodan", "shopify", "shippo", "sidekiq", "slack", "snowflake", "snyk", "sonar",
    "sonarcloud", "sonarqube", "sparkpost", "splunk", "spotify", "square", "squarespace", "stackexchange", "statuspage", "storyblok", "strava", "stripe", "sumologic", "supabase", "surveymonkey", "telegram", "tiingo", "todoist", "toggl", "tomtom", "travisci", "travis", "trello",
    "twilio", "twitch", "twitter", "typeform", "unsplash", "uptimerobot", "vercel", "virustotal", "vultr", "wakatime", "webex", "webflow", "weatherapi", "wistia", "wordpress", "workato", "wrike", "yandex", "yelp", "youtube", "zapier", "zendesk", "zerobounce", "zoho", "zoom",
    "abuseipdb", "adafruit", "alphavantage", "bannerbear", "browserstack", "bscscan", "censys", "chartmogul", "coinapi", "coinmarketcap", "convertkit", "customerio", "debounce", "deepl", "diffbot", "fixer", "flutterwave", "frameio", "freshbooks", "fullstory", "geocodio", "greynoise", "helpscout", "hellosign",
    "hereapi", "here", "imagga", "imgbb", "imgur", "intrinio", "ip2location", "ipgeolocation", "ipapi", "jumpcloud", "keycdn", "klaviyo", "kickbox", "lastfm", "lemonsqueezy", "livestorm", "loggly", "logzio", "luno", "mailerlite", "marketstack", "mediastack", "monday", "nasa", "nexmo", "vonage", "numverify", "omdb", "onesignal", "owlbot",
    "parseur", "pdfshift", "pexels", "pixabay", "positionstack", "prismic", "proxycrawl", "quickbooks", "rawg", "rebrandly", "rocketreach", "scraperapi", "screenshotlayer", "serpstack", "simplybook", "smartsheet", "smartystreets", "spoonacular", "stormglass", "svix", "tatum", "teamwork", "thingsboard", "ticketmaster", "timezonedb", "tmdb", "twelvedata", "ubidots",
    "uploadcare", "urlscan", "userstack", "walkscore", "weatherstack", "weatherbit", "zenscrape", "zipcodeapi", "zipcodebase", "zerotier", "kagi", "bitfinex", "binance", "coinlayer", "languagelayer", "vatlayer", "mailboxlayer", "pdflayer", "countrylayer", "currencylayer", "graphhopper", "ayrshare", "courier", "codemagic", "capsulecrm", "mailsac", "lemlist", "mockaroo", "feedly", "pepipost", "ambee", "rosette", "sslmate", "streak", "swiftype", "ritekit", "upcdatabase", "tradier", "calendarific", "cryptocompare", "hiveage", "humanity",
];

#[derive(Debug)]
pub(super) struct Services {
    automaton: AhoCorasick,
}

impl Services {
    pub(super) fn new() -> Result<Self, BuildError> {
        let automaton = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::LeftmostLongest)
            .kind(Some(AhoCorasickKind::DFA))
            .build(NAMES)?;
        Ok(Self { automaton })
    }

    pub(super) fn find(&self, doc: &Doc<'_>, out: &mut Sink) {
        // Without a long token nothing can follow a name.
        if !doc.toks.iter().any(|t| t.len() >= 16) && !doc.b.contains(&b'-') {
            return;
        }
        for m in self.automaton.find_iter(doc.t) {
            if !doc.prev(m.start()).is_ascii_alphanumeric() && let Some(raw) = behind(doc, m.end()) {
                out.push(raw);
            }
        }
    }
}

/// A token at most a few words behind a service's name, on the same line, after a telling word or an operator.
fn behind(doc: &Doc<'_>, end: usize) -> Option<Raw> {
    let rest = doc.window(end, 140);
    let line = rest.split('\n').next().unwrap_or("");
    let mut at = 0;
    let mut telling = false;
    while at < line.len().min(48) {
        let tail = &line[at..];
        let skip = tail.find(|c: char| c.is_ascii_alphanumeric()).unwrap_or(tail.len());
        telling |= tail[..skip].contains(['=', ':']) && !tail[..skip].contains("://");
        if tail[..skip].contains("://") || tail[..skip].contains(['/', '@', '(', '#']) {
            return None;
        }
        at += skip;
        let body = &line[at..];
        let len = body.bytes().take_while(|b| b.is_ascii_alphanumeric() || b"_-".contains(b)).count();
        let word = body[..len].trim_end_matches(['-', '_']);
        if word.is_empty() {
            return None;
        }
        let lower = word.to_ascii_lowercase();
        if telling && opaque(word) {
            return Some(Raw::secret(end + at, end + at + word.len(), "service_key", 0.65));
        }
        if ["hash", "sha", "commit", "digest", "checksum", "md5", "url", "host", "http", "https", "uuid", "integrity", "version", "domain", "client", "public", "tenant", "project", "bucket", "region"].iter().any(|w| lower.contains(w)) {
            return None;
        }
        telling |= ["key", "token", "secret", "private", "access", "apikey", "auth", "pat", "password", "credential"].iter().any(|w| lower.contains(w));
        at += len;
    }
    None
}

/// Long, mixed, and not made of words.
fn opaque(word: &str) -> bool {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let letters = word.bytes().filter(u8::is_ascii_alphabetic).count();
    (20..=128).contains(&word.len()) && digits >= 4 && letters >= 4 && entropy(word) >= 3.0 && !repeated(word) && !placeholder(word)
}
