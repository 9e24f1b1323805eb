//! Credentials that announce themselves: the prefix, the alphabet and the length that a vendor documents or that
//! its public clients check. The longest prefix wins, and what follows must be as long as the vendor makes it.

use aho_corasick::{AhoCorasick, AhoCorasickKind, BuildError, MatchKind};

use super::strength::{entropy, repeated};
use crate::sensitivity::Raw;
use crate::sensitivity::doc::{Doc, Sink};

/// Characters that may follow a prefix.
#[derive(Debug, Clone, Copy)]
enum Set {
    /// Letters and digits.
    A,
    /// Letters, digits, `_`, `-`.
    W,
    /// Hexadecimal digits.
    H,
    /// Letters, digits, `_`, `-`, `.`.
    V,
    /// Base64: letters, digits, `+`, `/`, `=`, `_`, `-`.
    B,
    /// Upper-case letters and digits.
    U,
}
use Set::{A, B, H, U, V, W};

impl Set {
    fn has(self, c: u8) -> bool {
        match self {
            A => c.is_ascii_alphanumeric(),
            W => c.is_ascii_alphanumeric() || c == b'_' || c == b'-',
            H => c.is_ascii_hexdigit(),
            V => c.is_ascii_alphanumeric() || b"_-.".contains(&c),
            B => c.is_ascii_alphanumeric() || b"+/=_-".contains(&c),
            U => c.is_ascii_uppercase() || c.is_ascii_digit(),
        }
    }
}

/// Prefix, name, alphabet, least and most characters behind the prefix.
type Rule = (&'static str, &'static str, Set, usize, usize);

const RULES: &[Rule] = &[
    // Models
    ("sk-proj-", "openai_key", W, 20, 200),
    ("sk-svcacct-", "openai_key", W, 20, 200),
    ("sk-admin-", "openai_key", W, 20, 200),
    ("sk-", "openai_key", A, 32, 64),
    ("sk-None-", "openai_key", W, 20, 200),
    ("sk-ant-", "anthropic_key", W, 32, 200),
    ("sk-or-v1-", "openrouter_key", H, 64, 64),
    ("sk-lf-", "langfuse_key", W, 36, 36),
    ("hf_", "huggingface_token", A, 30, 40),
    ("api_org_", "huggingface_token", A, 34, 34),
    ("gsk_", "groq_key", A, 40, 60),
    ("xai-", "xai_key", A, 60, 90),
    ("pplx-", "perplexity_key", A, 40, 60),
    ("r8_", "replicate_token", A, 37, 40),
    ("nvapi-", "nvidia_key", W, 60, 80),
    ("tgp_v1_", "together_key", W, 40, 50),
    ("fw_", "fireworks_key", A, 24, 24),
    ("csk-", "cerebras_key", A, 40, 60),
    ("jina_", "jina_key", W, 50, 70),
    ("tvly-", "tavily_key", W, 20, 60),
    ("fc-", "firecrawl_key", H, 32, 32),
    ("pcsk_", "pinecone_key", W, 50, 80),
    ("lsv2_pt_", "langsmith_key", W, 40, 50),
    ("lsv2_sk_", "langsmith_key", W, 40, 50),
    ("e2b_", "e2b_key", H, 40, 40),
    // Clouds
    ("AKIA", "aws_access_key_id", U, 16, 16),
    ("ASIA", "aws_access_key_id", U, 16, 16),
    ("ABIA", "aws_access_key_id", U, 16, 16),
    ("ACCA", "aws_access_key_id", U, 16, 16),
    ("A3T", "aws_access_key_id", U, 17, 17),
    ("AROA", "aws_role_id", U, 16, 16),
    ("AIDA", "aws_user_id", U, 16, 16),
    ("amzn.mws.", "amazon_mws_token", W, 30, 40),
    ("da2-", "aws_appsync_key", A, 26, 26),
    ("bedrock-api-key-", "aws_bedrock_key", B, 20, 400),
    ("ABSK", "aws_bedrock_key", B, 100, 280),
    ("AIza", "google_api_key", W, 30, 40),
    ("GOCSPX-", "google_oauth_secret", W, 24, 32),
    ("ya29.", "google_oauth_token", V, 20, 400),
    ("1//0", "google_refresh_token", W, 30, 200),
    ("GOOG", "gcs_hmac_key", U, 16, 60),
    ("6L", "recaptcha_key", W, 38, 38),
    ("dop_v1_", "digitalocean_token", H, 64, 64),
    ("doo_v1_", "digitalocean_token", H, 64, 64),
    ("dor_v1_", "digitalocean_token", H, 64, 64),
    ("LTAI", "alibaba_access_key", A, 12, 26),
    ("AKID", "tencent_secret_id", A, 32, 32),
    ("fio-u-", "frameio_token", W, 60, 70),
    ("nfp_", "netlify_token", A, 36, 44),
    ("rnd_", "render_key", A, 28, 40),
    ("FlyV1 fm", "fly_token", B, 40, 800),
    ("HRKU-", "heroku_key", W, 36, 70),
    ("sbp_", "supabase_token", H, 40, 40),
    ("sb_secret_", "supabase_key", W, 20, 60),
    ("pscale_tkn_", "planetscale_token", V, 32, 64),
    ("pscale_pw_", "planetscale_password", V, 32, 64),
    ("pscale_oauth_", "planetscale_token", V, 32, 64),
    ("vcp_", "vercel_token", W, 24, 60),
    ("v1.0-", "cloudflare_ca_key", H, 140, 180),
    ("ocid1.", "oracle_ocid", V, 60, 140),
    ("t1.9euel", "yandex_iam_token", V, 50, 300),
    ("AQVN", "yandex_api_key", W, 34, 40),
    // Version control, packages, build
    ("ghp_", "github_token", A, 30, 255),
    ("gho_", "github_token", A, 30, 255),
    ("ghu_", "github_token", A, 30, 255),
    ("ghs_", "github_token", A, 30, 255),
    ("ghr_", "github_token", A, 30, 255),
    ("github_pat_", "github_token", W, 50, 255),
    ("glpat-", "gitlab_token", V, 20, 300),
    ("gldt-", "gitlab_token", W, 20, 60),
    ("glft-", "gitlab_token", W, 20, 60),
    ("glrt-", "gitlab_token", W, 20, 60),
    ("glptt-", "gitlab_token", H, 40, 40),
    ("glcbt-", "gitlab_token", W, 20, 60),
    ("glimt-", "gitlab_token", W, 20, 60),
    ("glsoat-", "gitlab_token", W, 20, 60),
    ("glagent-", "gitlab_token", W, 40, 60),
    ("gloas-", "gitlab_token", H, 64, 64),
    ("glffct-", "gitlab_token", W, 20, 60),
    ("GR1348941", "gitlab_runner_token", W, 20, 24),
    ("ATBB", "bitbucket_app_password", A, 32, 40),
    ("ATATT", "atlassian_token", B, 100, 250),
    ("ATCTT", "atlassian_token", B, 100, 250),
    ("ATSTT", "atlassian_token", B, 100, 250),
    ("npm_", "npm_token", A, 36, 36),
    ("pypi-AgE", "pypi_token", W, 50, 300),
    ("rubygems_", "rubygems_key", H, 48, 48),
    ("oy2", "nuget_key", A, 43, 43),
    ("cio", "crates_token", A, 32, 32),
    ("crp_", "crates_token", A, 20, 60),
    ("dckr_pat_", "docker_token", W, 24, 40),
    ("dckr_oat_", "docker_token", W, 24, 40),
    ("CCIPAT_", "circleci_token", W, 40, 80),
    ("CCIPRJ_", "circleci_token", W, 40, 80),
    ("bkua_", "buildkite_token", H, 40, 40),
    ("sgp_", "sourcegraph_token", W, 40, 80),
    ("slk_", "sourcegraph_token", H, 64, 64),
    ("cmVmdG", "artifactory_token", A, 58, 58),
    ("AKCp", "artifactory_key", A, 60, 75),
    ("squ_", "sonarqube_token", H, 40, 40),
    ("sqp_", "sonarqube_token", H, 40, 40),
    ("sqa_", "sonarqube_token", H, 40, 40),
    ("odt_", "dependency_track_key", A, 32, 40),
    ("clojars_", "clojars_token", A, 60, 60),
    ("CLOJARS_", "clojars_token", A, 60, 60),
    ("hawk.", "stackhawk_key", V, 36, 48),
    // Chat, mail, telephony
    ("xoxb-", "slack_token", W, 20, 200),
    ("xoxp-", "slack_token", W, 20, 200),
    ("xoxa-", "slack_token", W, 20, 200),
    ("xoxr-", "slack_token", W, 20, 200),
    ("xoxs-", "slack_token", W, 20, 200),
    ("xoxo-", "slack_token", W, 20, 200),
    ("xoxe-", "slack_token", W, 20, 300),
    ("xoxe.", "slack_token", V, 20, 300),
    ("xoxc-", "slack_token", W, 20, 200),
    ("xoxd-", "slack_cookie", B, 40, 300),
    ("xapp-", "slack_token", W, 40, 200),
    ("SG.", "sendgrid_key", V, 50, 80),
    ("key-", "mailgun_key", H, 32, 32),
    ("pubkey-", "mailgun_key", H, 32, 32),
    ("xkeysib-", "brevo_key", W, 64, 90),
    ("xsmtpsib-", "brevo_key", W, 64, 90),
    ("re_", "resend_key", W, 20, 40),
    ("SK", "twilio_key", H, 32, 32),
    ("AC", "twilio_account", H, 32, 32),
    ("mlsn.", "mailersend_key", H, 64, 64),
    ("md-", "mandrill_key", W, 22, 22),
    ("EAAG", "facebook_token", A, 80, 260),
    ("EAAC", "facebook_token", A, 40, 260),
    ("EAA", "facebook_token", A, 60, 260),
    ("IGQV", "instagram_token", W, 100, 260),
    ("AAAA", "firebase_key", V, 140, 160),
    // Payment and commerce
    ("sk_live_", "stripe_key", A, 16, 250),
    ("sk_test_", "stripe_key", A, 16, 250),
    ("rk_live_", "stripe_key", A, 16, 250),
    ("rk_test_", "stripe_key", A, 16, 250),
    ("pk_live_", "stripe_key", A, 20, 250),
    ("pk_test_", "stripe_key", A, 20, 250),
    ("whsec_", "webhook_secret", B, 20, 100),
    ("sq0atp-", "square_token", W, 22, 60),
    ("sq0csp-", "square_secret", W, 40, 60),
    ("sq0idp-", "square_id", W, 22, 22),
    ("EAAAE", "square_token", W, 55, 70),
    ("shpat_", "shopify_token", H, 32, 32),
    ("shpca_", "shopify_token", H, 32, 32),
    ("shppa_", "shopify_token", H, 32, 32),
    ("shpss_", "shopify_token", H, 32, 32),
    ("shpua_", "shopify_token", H, 32, 32),
    ("shptka_", "shopify_token", H, 32, 32),
    ("access_token$production$", "braintree_token", V, 30, 80),
    ("access_token$sandbox$", "braintree_token", V, 30, 80),
    ("FLWSECK_TEST-", "flutterwave_key", W, 20, 60),
    ("FLWSECK-", "flutterwave_key", W, 20, 60),
    ("rzp_live_", "razorpay_key", A, 14, 20),
    ("rzp_test_", "razorpay_key", A, 14, 20),
    ("lin_api_", "linear_key", A, 32, 48),
    ("lin_oauth_", "linear_key", A, 32, 64),
    ("EZAK", "easypost_key", A, 54, 54),
    ("EZTK", "easypost_key", A, 54, 54),
    ("shippo_live_", "shippo_key", H, 40, 40),
    ("shippo_test_", "shippo_key", H, 40, 40),
    ("lob_live_", "lob_key", A, 30, 60),
    ("duffel_live_", "duffel_key", W, 40, 50),
    ("duffel_test_", "duffel_key", W, 40, 50),
    ("pdl_live_", "paddle_key", W, 30, 80),
    ("APP_USR-", "mercadopago_token", W, 60, 90),
    ("PMAK-", "postman_key", W, 50, 70),
    ("PMAT-", "postman_key", A, 20, 60),
    // Infrastructure and observability
    ("hvs.", "vault_token", W, 20, 200),
    ("hvb.", "vault_token", W, 60, 300),
    ("hvr.", "vault_token", W, 20, 200),
    ("s.", "vault_token", A, 24, 120),
    ("b.AAAA", "vault_token", W, 90, 400),
    ("dp.pt.", "doppler_token", A, 40, 48),
    ("dp.st.", "doppler_token", V, 40, 90),
    ("dp.ct.", "doppler_token", A, 40, 48),
    ("dp.sa.", "doppler_token", A, 40, 48),
    ("dp.scim.", "doppler_token", A, 40, 48),
    ("dp.audit.", "doppler_token", A, 40, 48),
    ("AGE-SECRET-KEY-1", "age_key", U, 58, 58),
    ("dapi", "databricks_token", H, 32, 34),
    ("NRAK-", "newrelic_key", U, 27, 27),
    ("NRII-", "newrelic_key", W, 32, 32),
    ("NRIQ-", "newrelic_key", W, 32, 32),
    ("NRRA-", "newrelic_key", H, 42, 42),
    ("NRAA-", "newrelic_key", H, 27, 27),
    ("NRJS-", "newrelic_key", H, 19, 19),
    ("px-api-", "pixie_key", W, 36, 36),
    ("px-dep-", "pixie_key", W, 36, 36),
    ("glsa_", "grafana_token", W, 40, 60),
    ("glc_", "grafana_token", B, 32, 400),
    ("eyJrIjoi", "grafana_key", B, 60, 400),
    ("dt0c01.", "dynatrace_token", V, 80, 100),
    ("dt0s16.", "dynatrace_token", V, 80, 100),
    ("sntrys_", "sentry_token", B, 60, 300),
    ("sntryu_", "sentry_token", H, 64, 64),
    ("lsk_", "launchdarkly_key", W, 30, 60),
    ("sdk-", "launchdarkly_key", W, 36, 36),
    ("phc_", "posthog_key", W, 40, 50),
    ("phx_", "posthog_key", W, 40, 50),
    ("hcaik_", "honeycomb_key", A, 50, 70),
    ("hcbik_", "honeycomb_key", A, 50, 70),
    ("pul-", "pulumi_token", H, 40, 40),
    ("tfp_", "typeform_token", W, 40, 70),
    ("atlasv1.", "terraform_token", V, 50, 80),
    ("nkp-", "nomad_token", W, 30, 60),
    ("tskey-", "tailscale_key", W, 20, 80),
    ("figd_", "figma_token", W, 30, 60),
    ("ntn_", "notion_token", A, 40, 60),
    ("secret_", "notion_token", A, 43, 43),
    ("dG9rO", "intercom_token", B, 40, 80),
    ("pat-na1-", "hubspot_token", W, 36, 36),
    ("pat-eu1-", "hubspot_token", W, 36, 36),
    ("pk.eyJ", "mapbox_token", V, 40, 200),
    ("sk.eyJ", "mapbox_token", V, 40, 200),
    ("tk.eyJ", "mapbox_token", V, 40, 300),
    ("sl.", "dropbox_token", W, 100, 200),
    ("aio_", "adafruit_key", A, 28, 28),
    ("cal_live_", "cal_key", H, 32, 32),
    ("ops_eyJ", "onepassword_token", B, 100, 900),
    ("apify_api_", "apify_token", A, 30, 50),
    ("rdme_", "readme_key", A, 60, 80),
    ("CFPAT-", "contentful_token", W, 40, 60),
    ("mfa.", "discord_token", W, 80, 95),
    ("p8e-", "adobe_secret", A, 32, 32),
    ("pnu_", "prefect_token", A, 36, 36),
    ("tkn.v1_", "teamwork_token", B, 60, 90),
    ("sha256~", "openshift_token", W, 40, 50),
];

#[derive(Debug)]
pub(super) struct Prefixes {
    automaton: AhoCorasick,
}

impl Prefixes {
    pub(super) fn new() -> Result<Self, BuildError> {
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::DFA))
            .build(RULES.iter().map(|r| r.0))?;
        Ok(Self { automaton })
    }

    pub(super) fn find(&self, doc: &Doc<'_>, out: &mut Sink) {
        for m in self.automaton.find_overlapping_iter(doc.b) {
            let (prefix, name, set, min, max) = RULES[m.pattern().as_usize()];
            let (s, from) = (m.start(), m.end());
            let left = doc.prev(s);
            let short = prefix.len() < 4;
            if left.is_ascii_alphanumeric() || short && b"_-./+".contains(&left) {
                continue;
            }
            let len = doc.b[from..].iter().take(max + 1).take_while(|c| set.has(**c)).count();
            // A longer run than the vendor makes is something else, unless the alphabet only happens to go on.
            let next = doc.at(from + len);
            let closed = !(next.is_ascii_alphanumeric() || short && b"_-/+".contains(&next));
            if len < min || len > max || !closed {
                continue;
            }
            let body = doc.t[from..from + len].trim_end_matches(['.', '-', '_']);
            if body.len() < min
                || repeated(body)
                || entropy(body) < if body.len() < 20 { 2.5 } else { 2.8 }
                || short && !mixed(body)
            {
                continue;
            }
            let public =
                name == "stripe_key" && prefix.starts_with("pk_") || prefix == "pk.eyJ" || prefix == "6L";
            out.push(Raw::secret(s, from + body.len(), name, if public { 0.6 } else { 0.97 }));
        }
    }
}

fn mixed(body: &str) -> bool {
    body.bytes().filter(u8::is_ascii_digit).count() >= 3 && body.bytes().any(|b| b.is_ascii_alphabetic())
}
