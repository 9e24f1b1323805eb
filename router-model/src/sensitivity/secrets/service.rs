//! An opaque token right behind the name of a service that hands out such tokens.
//!
//! Many services issue keys without a prefix of their own: thirty-two hexadecimal digits, say, as a hash would
//! be. The service's name in the assignment (`datadog_key=...`) is then the only sign.

use aho_corasick::{AhoCorasick, AhoCorasickKind, BuildError, MatchKind};

use super::strength::{entropy, placeholder, repeated};
use crate::sensitivity::Raw;
use crate::sensitivity::doc::{Doc, Sink};

/// Services that issue tokens without a mark of their own, separated by spaces.
const NAMES: &str = "abuseipdb adafruit airbrake airtable alchemy algolia alphavantage ambee amplitude apify apollo \
    asana auth0 aviationstack aws ayrshare azure bannerbear binance bitbucket bitfinex bitly blynk \
    box braintree browserstack bscscan bugsnag buildkite calendarific calendly capsulecrm censys \
    chartmogul circleci clearbit clickup cloudant cloudflare cloudinary cloudmersive cloudsmith \
    codacy codeclimate codecov codemagic cohere coinapi coinbase coinlayer coinmarketcap confluent \
    contentful convertkit countrylayer courier coveralls crowdin cryptocompare currencylayer \
    customerio datadog debounce deepai deepgram deepl detectify diffbot digitalocean discord \
    docusign doppler droneci dropbox dynatrace elastic elevenlabs etherscan eventbrite facebook \
    fastly feedly figma finnhub firebase fixer flickr flutterwave foursquare frameio freshbooks \
    freshdesk front fullstory gemini geoapify geocodio github gitlab gitter google grafana \
    graphhopper greynoise gumroad harvest hellosign helpscout here hereapi heroku hiveage honeycomb \
    hubspot humanity hunter ibm imagga imgbb imgur infura instagram intercom intrinio ip2location \
    ipapi ipgeolocation ipinfo ipstack jenkins jfrog jira jotform jumpcloud kagi keycdn kickbox \
    klaviyo kraken kucoin languagelayer lastfm launchdarkly lemlist lemonsqueezy linear linkedin \
    linode livestorm lob loggly logzio lokalise looker luno mailboxlayer mailchimp mailerlite \
    mailgun mailjet mailsac mandrill mapbox mapquest marketstack mattermost maxmind mediastack \
    messagebird mistral mixpanel mockaroo monday mongodb moralis nasa netlify newrelic newsapi \
    nexmo ngrok nightfall notion numverify nytimes okta omdb onesignal openai opencage openweather \
    openweathermap opsgenie optimizely owlbot pagerduty pandadoc parseur particle pastebin paypal \
    pdflayer pdfshift pepipost percy pexels pinecone pipedrive pivotal pixabay plaid planetscale \
    polygon positionstack posthog postmark prismic proxycrawl pubnub pusher quay quickbooks \
    rapidapi rawg raygun razorpay rebrandly recaptcha ritekit rocketreach rollbar rosette \
    salesforce sauce saucelabs scaleway scraperapi scrapinghub screenshotlayer securitytrails \
    segment sendbird sendgrid sendinblue sentry serpapi serpstack shippo shodan shopify sidekiq \
    simplybook slack smartsheet smartystreets snowflake snyk sonar sonarcloud sonarqube sparkpost \
    splunk spoonacular spotify square squarespace sslmate stackexchange statuspage stormglass \
    storyblok strava streak stripe sumologic supabase surveymonkey svix swiftype tatum teamwork \
    telegram thingsboard ticketmaster tiingo timezonedb tmdb todoist toggl tomtom tradier travis \
    travisci trello twelvedata twilio twitch twitter typeform ubidots unsplash upcdatabase \
    uploadcare uptimerobot urlscan userstack vatlayer vercel virustotal vonage vultr wakatime \
    walkscore weatherapi weatherbit weatherstack webex webflow wistia wordpress workato wrike \
    yandex yelp youtube zapier zendesk zenscrape zerobounce zerotier zipcodeapi zipcodebase zoho \
    zoom \
    abstract abyssale accuweather activecampaign adzuna aerisweather agora aha airship aiven akamai alegra aletheia \
    anypoint apacta apideck apiflash apifonica apilayer apimatic apitemplate appcues appfollow appointedd appoptics \
    appsynergy apptivo artifactory artsy assemblyai atera audd autodesk autoklose autopilot avaza aylien axonaut \
    baremetrics baseten beamer beebole besnappy besttime betterstack billomat bitcoinaverage bitmex blablabus \
    blazemeter blitapp blogger bombbomb boostnote borgbase brandfetch browshot bulbul bulksms buttercms caflou calorieninja \
    campayn cannyio caspio centralstation cexio chatbot chatfuel checkio checklyhq checkout checkvist cicero \
    clarifai clickhelp clicksend clinchpad clockify clockwork cloudconvert cloudimage cloudplan cloverly cloze clustdoc \
    codequiry coinlib collect2 commercejs commodities companyhub convier copper countryapi coursier crossbrowsertesting \
    currencycloud currencyfreaks currencyscoop currentsapi customerguru d7network dandelion dareboost \
    data.gov databox databricks datagov dbt debitoor delighted demio deputy dfuse diggernaut dnscheck documo dotmailer dovico \
    dronahq dwolla dyspatch eagleeyenetworks easyinsight ecostruxureit edamam edenai eightxeight elasticemail \
    enablex endorlabs enigma envoy ethplorer everhour exchangerate exportsdk extractorapi faceplusplus fibery \
    fileio findl flatio fleetbase flexport flightapi flightlabs flightstats flowflu fmfw formbucket formcraft formsite \
    fxmarket geckoboard gengo geocode geocodify getemail getemails getgeoapi getgist getresponse getsandbox glassnode \
    gocanvas gocardless goodday graphcms groovehq gtmetrix guardianapi gyazo happyscribe heatmapapi \
    hereapi holidayapi html2pdf httpapi hubspotapi hybiscus hypertrack iconfinder iexapis iexcloud image4io imagekit \
    imagga impala insightly instabot integromat interseller intrinio invoiceocean ipinfodb ipquality ipqualityscore \
    jdbc judge0 juro kairos kaleyra kanbantool karma keenio kontent kylas languagetool larksuite leadfeeder lendflow \
    lessannoyingcrm lexigram linenotify linkpreview liveagent livechat loadmill logrocket logtail loginradius lokalize loyverse \
    m3o macaddress madkudu magicbell mailblaster mailmodo marketo mavenlink maxcdn meaningcloud \
    mediawiki meistertask meraki mesibo metaapi metabase metrilo microlink mixmax mixpanel mockapi \
    moonclerk moonclock moosend moskit mrticktock mux myfreshworks myintervals nethunt neutrinoapi newscatcher \
    nicereply nitro nozbe nylas oanda ocrspace onboard onedesk onepagecrm onfleet \
    onwater openaq opencagedata openuv openvpn oopspam opsworks overloop parsehub partnerstack passbase \
    paydirt paymo paymongo paystack pdfco pdfcrowd peopledatalabs planview planviewleankit planyo plisio podio pollsapi poloniex \
    postageapp postbacks powrbot proofhub proxies publitio purestake qase quaderno qualaroo qubole quickmetrics \
    quicknode razer reachmail readme reallysimplesystems remove.bg removebg repairshopr replicate \
    replyio requestfinance restpack restpackhtmltopdf revamp ringcentral ritekit roninapp route4me \
    rownd runrun runscope salesblink salescookie salesflare salesforce salesmate satismeter scalr scoutapm scrapeowl \
    scraperbox scraperapi scrapfly scrapingant scrapingbee scrutinizer searchmetrics seatgeek sellfy serphouse \
    sheety sherpadesk shipday shippingeasy shotstack shutterstock signable signalwire signaturit \
    signupgenius sigopt simfin simplesat simplynoted simvoly sinch siteleaf skrappio skybiometry slackapi smartling \
    sms77 snipcart snov sociall sonatype spectralops sportradar sportsmonk spotinst squareup sslmate stackpath stackhawk \
    statuscake steampowered stitchdata storecove stormboard streamlabs strapi stytch sugester supernotes \
    supportbee surveyanyplace surveybot surveysparrow survicate swiftype tableau talent tallyfy tapapi taxjar \
    teamgate technicalanalysisapi tefter telnyx teletype testingbot text2data textmagic theoddsapi thinkific thousandeyes thingspeak tickspot \
    tiktok timecamp timekit tly tmetric todoapp toneapi transferwise travelpayouts traveltime trelloapi \
    twitterapi tyntec typetalk ubidots unbounce unplugg uplead upwave urlscanio usersnap userflow \
    vbout verifier verimail veriphone versioneye viewneo vimeo virustotalapi visualcrossing visualping voicegain voodoosms \
    vouchery vpnapi vyte waveapps weatherxu webscraper webscraping websitepulse whoxy wit worksnaps workstack \
    worldcoinindex worldweather wrapapi xinge yesmail youneedabudget ynab zapierwebhook zenkit zenrows zenserp zeplin \
    zipapi zipbooks zipcodebase zonka zylo harness rapid7 tenable qualys crowdstrike sentinelone wiz snyk veracode checkmarx sonatype \
    semgrep gitguardian hashicorp consul nomad vault rancher portainer argocd spinnaker octopus teamcity bamboo \
    gemfury packagecloud magento bigcommerce woocommerce prestashop etsy ebay amazon aliexpress rakuten \
    deepseek groq perplexity together fireworks mistralai anthropic huggingface wandb cometml neptune roboflow \
    langchain langfuse weaviate qdrant milvus zilliz chroma upstash redis memcached rabbitmq kafka pulsar neo4j \
    cockroachdb timescale clickhouse influxdb questdb couchbase couchdb fauna faunadb xata turso";

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
            .build(NAMES.split(' '))?;
        Ok(Self { automaton })
    }

    pub(super) fn find(&self, doc: &Doc<'_>, out: &mut Sink) {
        // Without a long token nothing can follow a name.
        if !doc.toks.iter().any(|t| t.len() >= 16) && !doc.b.contains(&b'-') {
            return;
        }
        for m in self.automaton.find_iter(doc.t) {
            if !doc.prev(m.start()).is_ascii_alphanumeric()
                && let Some(raw) = behind(doc, m.end())
            {
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
        if telling && (opaque(word) || grouped(word)) {
            return Some(Raw::secret(end + at, end + at + word.len(), "service_key", 0.65));
        }
        if [
            "hash",
            "sha",
            "commit",
            "digest",
            "checksum",
            "md5",
            "url",
            "host",
            "http",
            "https",
            "uuid",
            "integrity",
            "version",
            "domain",
            "client",
            "public",
            "tenant",
            "project",
            "bucket",
            "region",
        ]
        .iter()
        .any(|w| lower.contains(w))
        {
            return None;
        }
        telling |= [
            "key",
            "token",
            "secret",
            "private",
            "access",
            "apikey",
            "auth",
            "pat",
            "password",
            "credential",
        ]
        .iter()
        .any(|w| lower.contains(w));
        at += len;
    }
    None
}

/// A token in the form of a UUID, which many services hand out.
fn grouped(word: &str) -> bool {
    let lens: Vec<usize> = word.split('-').map(str::len).collect();
    lens == [8, 4, 4, 4, 12] && word.bytes().filter(u8::is_ascii_digit).count() >= 6 && !placeholder(word)
}

/// Long, mixed, and not made of words.
fn opaque(word: &str) -> bool {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let letters = word.bytes().filter(u8::is_ascii_alphabetic).count();
    (20..=128).contains(&word.len())
        && digits >= 4
        && letters >= 4
        && entropy(word) >= 3.0
        && !repeated(word)
        && !placeholder(word)
}
