//! Which language a text is written in.
//!
//! The script decides alone where one language of the list owns it. Within a script, frequent words and letters
//! that only some languages use are counted; a word that several languages share counts for each of them.
//! Only the beginning of a text is read. Bounds: languages outside the list are reported as a neighbour that
//! shares their words, or as [`UNKNOWN`]; program text usually reads as English.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::{Prompt, Role};

/// What is reported when the language is not known.
pub const UNKNOWN: &str = "und";

/// Characters that are read at most.
const CHARS_MAX: usize = 1000;

/// Latin-script languages: frequent words, among them those that short requests consist of.
const LATIN: &[(&str, &str)] = &[
    (
        "en",
        "the of and to in is it you that he was for on are with as his they be at this have from or by not but what all were \
        we when your can said there use an each which she do how their if will up about out many then them these so some her \
        would make like him into has look more write go see no way could my than been call who now find down did get come made \
        may part hello hi hey thanks thank please why where ok okay yes continue good morning evening great sure bye give tell me explain translate \
        summarize rewrite list show a i",
    ),
    (
        "de",
        "der die das und ist ich nicht ein eine zu den mit sich auf für von dem des im wie was wer wo warum sind war hat haben \
        wird werden bei nach aus oder auch noch nur aber wenn dass kann können sie wir ihr mein dein bitte danke hallo guten tag \
        morgen übersetze schreibe erkläre welche welcher welches einen einem einer es er du mir mich als über unter zum zur ja nein gibt",
    ),
    (
        "fr",
        "le la les de des et est un une du que qui dans pour pas ce cette il elle je tu nous vous ils sur avec au aux par plus \
        sont ou où mais comment pourquoi quel quelle quels est-ce bonjour merci salut s'il être avoir fait son sa ses mon ma mes leur \
        en ne se votre notre peux écris explique traduis résume oui non c'est qu'est l'on",
    ),
    (
        "es",
        "el la los las de y es un una que en por para con no se lo su al del como más qué cuál cuáles cómo dónde cuándo quién está son \
        pero este esta mi tu yo hola gracias buenos buenas días por_favor escribe explica traduce resume sí muy también hay tiene ser \
        hacer nos me te le les sus ha fue cuántos cuántas",
    ),
    (
        "it",
        "il lo la i gli le di e è un una uno che in per con non si da del della dei delle al alla come più cosa chi dove quando perché \
        qual quale sono ma questo questa mio tuo ciao grazie buongiorno scrivi spiega traduci riassumi sì anche ha hanno essere fare mi ti \
        ci nel nella sul sulla degli quanti",
    ),
    (
        "pt",
        "o a os as de e é um uma que em por para com não se do da dos das no na nos nas ao como mais qual quais onde quando quem \
        porque são mas este esta isso meu seu eu você olá oi obrigado obrigada bom boa dia escreva explique traduza resuma sim muito também \
        há tem ser fazer me te lhe foi está quantos pelo pela",
    ),
    (
        "nl",
        "de het een en is van in dat niet op te voor met zijn aan er als wat wie waar hoe waarom wanneer ik je jij u wij we ze hij maar \
        om ook nog naar bij uit of dit deze die mijn jouw hallo bedankt dank goedemorgen schrijf leg vertaal vat hoeveel wordt worden kan \
        kunnen heeft hebben geen ja nee over dan dag laat welke",
    ),
    (
        "pl",
        "i w na z do nie się jest to że co jak dla o od po za czy tak ale jaki jaka jakie kto gdzie kiedy dlaczego są był było być mam \
        masz może proszę dziękuję cześć dzień dobry napisz wyjaśnij przetłumacz streść ten ta te tego przez przy które który która lub oraz ile mi",
    ),
    (
        "sv",
        "och i att det som en på är av för med den till inte om ett har de var jag du vi han hon men hur vad vem när varför eller kan ska \
        från så detta hej tack god morgon skriv förklara översätt sammanfatta mig dig min din sig vilken vilket många också finns",
    ),
    (
        "da",
        "og i at det som en på er af for med den til ikke om et har de var jeg du vi han hun men hvordan hvad hvem hvor hvornår hvorfor eller \
        kan skal fra så dette hej tak god morgen skriv forklar oversæt opsummer mig dig min din sig hvilken hvilket mange også findes der",
    ),
    (
        "fi",
        "ja on ei se että en hän oli mutta ovat kun niin kuin tämä mitä mikä kuka missä miten miksi milloin minä sinä me te he voi olla \
        joka tai myös hei kiitos hyvää huomenta kirjoita selitä käännä tiivistä kuinka monta minun sinun sen jos vain paljonko",
    ),
    (
        "cs",
        "a je v se na to že s z do ne i o jak co kdo kde kdy proč jsem jsi jsou byl bylo být ale nebo pro by ten ta tento tato který která \
        které mám máš může prosím děkuji ahoj dobrý den napiš vysvětli přelož shrň jaký jaká jaké kolik podle také už mi při",
    ),
    (
        "tr",
        "ve bir bu için ile de da ne mi mı mu ben sen o biz siz onlar çok daha var yok gibi ama nasıl neden nerede kim hangi olan olarak \
        en değil merhaba teşekkürler teşekkür günaydın lütfen yaz açıkla çevir özetle kaç her şey kadar sonra bana nedir",
    ),
    (
        "vi",
        "và là của có không một những các được cho trong người này đó tôi bạn với để khi như thế nào gì ai đâu sao tại hãy viết dịch giải \
        thích tóm tắt xin chào cảm ơn bao nhiêu đến từ ở ra vào cũng",
    ),
    (
        "id",
        "dan yang di ke dari ini itu dengan untuk tidak adalah saya anda kamu dia kami kita mereka apa siapa mana kapan mengapa bagaimana ada \
        bisa akan sudah atau juga pada dalam oleh halo terima kasih selamat pagi tolong tulis jelaskan terjemahkan ringkas berapa lebih",
    ),
];

/// Languages in Cyrillic script.
const CYRILLIC: &[(&str, &str)] = &[
    (
        "ru",
        "и в не на что я с как это по но к из за от для так его все она он мы вы они кто где когда почему какой какая привет спасибо \
        пожалуйста напиши объясни переведи был быть есть или если",
    ),
    (
        "uk",
        "і в не на що я з як це по але до із за від для так його все вона він ми ви вони хто де коли чому який яка привіт дякую будь \
        ласка напиши поясни переклади був бути є або якщо та й",
    ),
];

/// Letters that point to some languages only.
const LETTERS: &[(char, &[&str])] = &[
    ('ß', &["de"]),
    ('ä', &["de", "sv", "fi"]),
    ('ö', &["de", "sv", "fi", "tr"]),
    ('ü', &["de", "tr"]),
    ('ñ', &["es"]),
    ('¿', &["es"]),
    ('¡', &["es"]),
    ('ã', &["pt", "vi"]),
    ('õ', &["pt", "vi"]),
    ('ç', &["fr", "pt", "tr"]),
    ('œ', &["fr"]),
    ('ê', &["fr", "pt", "vi"]),
    ('è', &["fr", "it"]),
    ('ù', &["fr", "it"]),
    ('ò', &["it"]),
    ('ì', &["it"]),
    ('ł', &["pl"]),
    ('ą', &["pl"]),
    ('ę', &["pl"]),
    ('ś', &["pl"]),
    ('ż', &["pl"]),
    ('ź', &["pl"]),
    ('ć', &["pl"]),
    ('ń', &["pl"]),
    ('å', &["sv", "da"]),
    ('æ', &["da"]),
    ('ø', &["da"]),
    ('ř', &["cs"]),
    ('ě', &["cs"]),
    ('ů', &["cs"]),
    ('č', &["cs"]),
    ('š', &["cs"]),
    ('ž', &["cs"]),
    ('ğ', &["tr"]),
    ('ş', &["tr"]),
    ('ı', &["tr"]),
    ('đ', &["vi"]),
    ('ơ', &["vi"]),
    ('ư', &["vi"]),
    ('ạ', &["vi"]),
    ('ế', &["vi"]),
    ('ộ', &["vi"]),
    ('ệ', &["vi"]),
    ('ấ', &["vi"]),
    ('ả', &["vi"]),
    ('ì', &["vi"]),
    ('à', &["fr", "it", "pt", "vi"]),
    ('é', &["fr", "es", "pt"]),
    ('á', &["es", "pt", "cs"]),
    ('í', &["es", "pt", "cs"]),
    ('ó', &["es", "pt", "pl"]),
    ('ú', &["es", "pt", "cs"]),
    ('і', &["uk"]),
    ('ї', &["uk"]),
    ('є', &["uk"]),
    ('ґ', &["uk"]),
    ('ы', &["ru"]),
    ('э', &["ru"]),
    ('ъ', &["ru"]),
    ('ё', &["ru"]),
];

/// A word that several languages share says less about each; a letter says less than a word.
const LETTER_WEIGHT: f32 = 0.6;
/// Weight of letter pairs and endings, which decide only where no word is known.
const SHAPE_WEIGHT: f32 = 0.25;

/// With as many votes of known words, the shapes of the others are not looked at.
const KNOWN_WORDS_MIN: usize = 8;
/// Words whose shape is looked at, at most.
const SHAPED_WORDS_MAX: usize = 24;

/// Beginnings, ends and pairs of letters that are frequent in one language and rare in the others.
const SHAPES: &[(&str, &str)] = &[
    ("en", "th wh ght tion ing ould ck sh ee oo"),
    ("de", "sch ung eit cht ei ich tz pf"),
    ("fr", "eau eux oi ment ez ais ou"),
    ("es", "ción dad ll rr mente ado"),
    ("it", "zione gli cch zz tto are ere"),
    ("pt", "ção ões lh nh ão mente"),
    ("nl", "ij aa oe sch ee uu"),
    ("pl", "sz cz rz dz owa ego ie"),
    ("sv", "ck sj ning arna else för"),
    ("da", "hv nd else erne ede"),
    ("fi", "ää kk uu ssa sta lla ii nen"),
    ("cs", "ov ní ch ský ost"),
    ("tr", "lar ler dir yor"),
    ("vi", "ng nh ph kh"),
    ("id", "ng kan men ber nya pe"),
];

type Votes = HashMap<&'static str, Vec<(&'static str, f32)>>;

static WORDS: LazyLock<Votes> = LazyLock::new(|| {
    let mut votes = Votes::new();
    for &(language, words) in LATIN.iter().chain(CYRILLIC) {
        for word in words.split_whitespace() {
            votes.entry(word).or_default().push((language, 1.0));
        }
    }
    for shared in votes.values_mut() {
        let weight = 1.0 / (shared.len() as f32).sqrt();
        shared.iter_mut().for_each(|vote| vote.1 = weight);
    }
    votes
});

/// ISO 639-1 code of the main language of `text`, or [`UNKNOWN`].
#[must_use]
pub fn detect(text: &str) -> &'static str {
    let mut scripts = [0_u32; Script::COUNT];
    for c in text.chars().take(CHARS_MAX) {
        if let Some(script) = Script::of(c) {
            scripts[script as usize] += script.weight();
        }
    }
    let Some(script) = Script::ALL.into_iter().max_by_key(|&script| scripts[script as usize]) else {
        return UNKNOWN;
    };
    if scripts[script as usize] == 0 {
        return UNKNOWN;
    }
    // Japanese mixes kana with ideographs: some kana are enough.
    if scripts[Script::Kana as usize] > 0 && matches!(script, Script::Han | Script::Kana) {
        return "ja";
    }
    match script {
        Script::Latin => vote(text, LATIN),
        Script::Cyrillic => vote(text, CYRILLIC),
        Script::Greek => "el",
        Script::Arabic => "ar",
        Script::Hebrew => "he",
        Script::Devanagari => "hi",
        Script::Thai => "th",
        Script::Hangul => "ko",
        Script::Han => "zh",
        Script::Kana => "ja",
    }
}

/// Language of the last user turn that says enough, else of the longest text.
#[must_use]
pub fn of_prompt(prompt: &Prompt<'_>) -> &'static str {
    let users = prompt.segments.iter().rev().filter(|segment| segment.role == Role::User);
    for segment in users {
        let found = detect(&segment.text);
        if found != UNKNOWN {
            return found;
        }
    }
    prompt
        .segments
        .iter()
        .max_by_key(|segment| segment.text.len())
        .map_or(UNKNOWN, |segment| detect(&segment.text))
}

/// The language of the group with the most votes; ties go to the first, and no vote at all to nobody.
fn vote(text: &str, group: &[(&'static str, &str)]) -> &'static str {
    let mut scores = vec![0.0_f32; group.len()];
    let place = |language: &str| group.iter().position(|entry| entry.0 == language);
    let mut add = |language: &str, weight: f32| {
        if let Some(at) = place(language) {
            scores[at] += weight;
        }
    };
    let end = text.char_indices().nth(CHARS_MAX).map_or(text.len(), |(at, _)| at);
    let lower = text[..end].to_lowercase();
    let words = || lower.split(|c: char| !c.is_alphabetic() && c != '\'' && c != '-');
    let mut known = 0_usize;
    for (language, weight) in words().filter_map(|word| WORDS.get(word)).flatten() {
        known += 1;
        add(language, *weight);
    }
    for c in lower.chars().filter(|c| !c.is_ascii()) {
        let found = LETTERS.iter().find(|entry| entry.0 == c);
        found.into_iter().flat_map(|entry| entry.1).for_each(|language| add(language, LETTER_WEIGHT));
    }
    if known < KNOWN_WORDS_MIN {
        for word in words().filter(|word| !word.is_empty()).take(SHAPED_WORDS_MAX) {
            for (language, shapes) in SHAPES {
                let hits = shapes.split(' ').filter(|shape| word.contains(shape)).count();
                add(language, SHAPE_WEIGHT * hits as f32);
            }
        }
    }
    let best = scores.iter().enumerate().rev().max_by(|a, b| a.1.total_cmp(b.1));
    best.filter(|(_, score)| **score > 0.0).map_or(UNKNOWN, |(at, _)| group[at].0)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
enum Script {
    Latin,
    Cyrillic,
    Greek,
    Arabic,
    Hebrew,
    Devanagari,
    Thai,
    Hangul,
    Han,
    Kana,
}

impl Script {
    const COUNT: usize = Self::ALL.len();
    const ALL: [Self; 10] = [
        Self::Latin,
        Self::Cyrillic,
        Self::Greek,
        Self::Arabic,
        Self::Hebrew,
        Self::Devanagari,
        Self::Thai,
        Self::Hangul,
        Self::Han,
        Self::Kana,
    ];

    fn of(c: char) -> Option<Self> {
        Some(match c {
            'a'..='z' | 'A'..='Z' | '\u{c0}'..='\u{24f}' | '\u{1e00}'..='\u{1eff}' => Self::Latin,
            '\u{400}'..='\u{52f}' => Self::Cyrillic,
            '\u{370}'..='\u{3ff}' | '\u{1f00}'..='\u{1fff}' => Self::Greek,
            '\u{600}'..='\u{6ff}' | '\u{750}'..='\u{77f}' => Self::Arabic,
            '\u{590}'..='\u{5ff}' => Self::Hebrew,
            '\u{900}'..='\u{97f}' => Self::Devanagari,
            '\u{e00}'..='\u{e7f}' => Self::Thai,
            '\u{ac00}'..='\u{d7af}' | '\u{1100}'..='\u{11ff}' => Self::Hangul,
            '\u{4e00}'..='\u{9fff}' | '\u{3400}'..='\u{4dbf}' => Self::Han,
            '\u{3041}'..='\u{30ff}' => Self::Kana,
            _ => return None,
        })
    }

    /// An ideograph or a syllable says as much as two or three letters.
    fn weight(self) -> u32 {
        match self {
            Self::Han | Self::Kana | Self::Hangul => 3,
            _ => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_texts() {
        let mut wrong = Vec::new();
        let rows: Vec<(&str, &str)> = include_str!("../tests/data/languages.tsv")
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .collect();
        for (language, text) in &rows {
            if detect(text) != *language {
                wrong.push((language, detect(text), text));
            }
        }
        println!("{} of {} right", rows.len() - wrong.len(), rows.len());
        assert!(wrong.len() * 20 <= rows.len(), "{wrong:?}");
    }

    #[test]
    fn nothing_to_read() {
        for text in ["", "12345", "?!", "😀"] {
            assert_eq!(detect(text), UNKNOWN, "{text:?}");
        }
    }
}
