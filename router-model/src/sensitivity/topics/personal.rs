//! Topics that depend on whose data it is: special categories (GDPR articles 9 and 10) and minors.
//!
//! An article about a religion and a note on a colleague's religion share their words. A category's word therefore
//! counts for little by itself, and for much when the text ties it to a person within a few words: one the
//! writer knows ("my colleague", "the applicant"), somebody ("she is"), or a field that only a person has
//! ("religion:"). Words of encyclopaedias weigh against. Left out: whether somebody is under age by a date of
//! birth, since that needs a clock; an age that is written out is read.

use policies::{EntityKind, Topic};

use super::Sig::{self, Article, Category, Known, Said, Somebody, T};
use crate::sensitivity::Raw;

/// Farthest that a person may stand from a category's word, in bytes.
const NEAR: usize = 64;
/// An age below this is a child's.
const ADULT: u32 = 18;

/// Ties between categories and persons that were seen so far.
#[derive(Debug, Default)]
pub(super) struct Personal {
    category_end: Option<usize>,
    known_end: Option<usize>,
    somebody_end: Option<usize>,
    known: u32,
    somebody: u32,
}

impl Personal {
    /// Takes the next word, in order of its place.
    pub(super) fn see(&mut self, sig: Sig, start: usize, end: usize) {
        let near = |at: Option<usize>| at.is_some_and(|at| start.saturating_sub(at) <= NEAR);
        match sig {
            Category => {
                if near(self.known_end) {
                    self.known += 1;
                } else if near(self.somebody_end) {
                    self.somebody += 1;
                }
                self.category_end = Some(end);
            }
            Known => {
                self.known += u32::from(near(self.category_end));
                self.known_end = Some(end);
            }
            Somebody => {
                self.somebody += u32::from(near(self.category_end));
                self.somebody_end = Some(end);
            }
            _ => {}
        }
    }

    /// Weight of the topic `special_categories`.
    pub(super) fn special(&self, words: f32, said: f32, article: f32, found: &[Raw], length: f32) -> f32 {
        if words + said == 0.0 {
            return 0.0;
        }
        let identified = found.iter().any(|r| {
            matches!(
                r.kind,
                EntityKind::Person
                    | EntityKind::DateOfBirth
                    | EntityKind::NationalId
                    | EntityKind::UsSsn
                    | EntityKind::MedicalId
                    | EntityKind::Passport
            )
        });
        let known = self.known.min(4) as f32 * 0.95;
        let somebody = self.somebody.min(4) as f32 * 0.5;
        let named = if identified { 0.7 } else { 0.0 };
        let person = (known + (somebody + named) / length - article * 0.35).max(0.0);
        words.min(2.0) * 0.12 + said.min(3.0) * 0.95 / length.sqrt() + person
    }
}

/// Weight of the topic `minors`: words of children, lifted by an age that is a child's.
pub(super) fn minors(words: f32, original: &str, found: &[Raw], length: f32) -> f32 {
    let young = found
        .iter()
        .filter(|r| r.kind == EntityKind::Age)
        .filter_map(|r| original.get(r.s..r.e))
        .any(|age| years(age).is_some_and(|years| years < ADULT));
    let words = words / length;
    let age = if young { if words > 0.0 { 0.9 } else { 0.6 } } else { 0.0 };
    if words + age == 0.0 { 0.0 } else { words * 0.8 + age }
}

/// The first number of an age.
fn years(age: &str) -> Option<u32> {
    let from = age.find(|c: char| c.is_ascii_digit())?;
    let digits: String = age[from..].chars().take_while(char::is_ascii_digit).take(3).collect();
    digits.parse().ok()
}

/// Weighted words by signal, separated by bars. Russian words are stems: a match may go on in Cyrillic.
pub(super) const WORDS: &[(Sig, f32, &str)] = &[
    // Religion and belief
    (
        Category,
        1.0,
        "muslim|muslima|moslem|jewish|jew|catholic|protestant|buddhist|hindu|sikh|atheist|agnostic|mormon|\
        jehovah's witness|evangelical christian|born-again christian|orthodox christian|christian|\
        religion|religious beliefs|religious belief|religious reasons|faith|mosque|synagogue|ramadan|\
        converted to islam|muslimisch|muslimin|jüdisch|jüdin|jude|katholisch|katholikin|katholik|\
        evangelisch|buddhistin|zeugen jehovas|konfession|konfessionslos|religionszugehörigkeit|\
        religiöse überzeugung|musulman|musulmane|juif|juive|catholique|protestante|bouddhiste|athée|\
        témoin de jéhovah|confession religieuse|croyances religieuses|musulmán|musulmana|judío|judía|\
        católico|católica|budista|ateo|atea|testigo de jehová|religión|creencias religiosas|musulmano|\
        ebreo|ebrea|cattolico|cattolica|buddista|testimone di geova|religione|credo religioso|\
        muçulmano|muçulmana|judeu|judia|ateu|religião|crença religiosa|moslim|moslima|joods|katholiek|\
        boeddhist|atheïst|geloofsovertuiging|godsdienst|religie|muzułmanin|muzułmanka|żyd|żydówka|\
        katolik|katoliczka|buddysta|ateista|wyznanie|wyznania|religia|judisk|judinna|buddist|ateist|\
        trosuppfattning|religiös övertygelse|мусульман|еврей|иуде|католик|православн|буддист|атеист|\
        вероисповедан|религи",
    ),
    // Origin
    (
        Category,
        1.0,
        "ethnicity|ethnic origin|ethnic background|racial origin|african american|afro-american|hispanic|\
        latino|latina|romani|of kurdish descent|of turkish descent|of arab descent|of jewish descent|\
        native american|indigenous descent|is black|is white|is asian|ethnische herkunft|\
        migrationshintergrund|sinti und roma|origine ethnique|d'origine maghrébine|d'origine arabe|\
        origen étnico|de etnia gitana|gitano|gitana|origine etnica|di etnia rom|origem étnica|\
        etnische afkomst|etnische achtergrond|pochodzenie etniczne|narodowości romskiej|etniskt ursprung|\
        этническ|национальност|по национальности",
    ),
    // Politics
    (
        Category,
        1.0,
        "political opinion|political opinions|political views|political affiliation|party member|\
        party membership|member of the communist party|voted for|registered republican|\
        registered democrat|is a republican|is a democrat|is a communist|is a socialist|donated to the campaign|\
        attended the protest|politische einstellung|politische überzeugung|parteimitglied|parteibuch|\
        mitglied der afd|mitglied der spd|mitglied der cdu|mitglied der linken|opinions politiques|\
        membre du parti|adhérent du parti|opiniones políticas|ideología política|afiliado al partido|\
        afiliada al partido|militante del partido|opinioni politiche|iscritto al partito|\
        iscritta al partito|opiniões políticas|filiado ao partido|militante do partido|\
        politieke voorkeur|politieke overtuiging|lid van de partij|poglądy polityczne|członek partii|\
        członkiem partii|politiska åsikter|partimedlem|medlem i partiet|политические взгляды|\
        политические убеждения|член партии|членом партии",
    ),
    // Trade unions
    (
        Category,
        1.0,
        "trade union|trade unionist|labor union|labour union|union member|union membership|union dues|\
        joined the union|shop steward|union representative|union rep|gewerkschaft|gewerkschaftsmitglied|\
        gewerkschafter|gewerkschaftsbeitrag|ig metall|ver.di|syndicat|syndicaliste|syndiqué|syndiquée|\
        délégué syndical|adhérent à la cgt|sindicato|sindicalista|afiliación sindical|delegado sindical|\
        sindacato|iscritto al sindacato|iscritta al sindacato|sindacalista|sindicalizado|\
        dirigente sindical|vakbond|vakbondslid|lid van de fnv|związek zawodowy|związku zawodowego|\
        związkowiec|fackförbund|fackligt|fackmedlem|facket|профсоюз",
    ),
    // Sex life and orientation
    (
        Category,
        1.0,
        "gay|lesbian|bisexual|homosexual|transgender|trans woman|trans man|queer|sexual orientation|\
        sex life|extramarital affair|came out as|schwul|lesbisch|bisexuell|homosexuell|\
        sexuelle orientierung|sexualleben|homosexuel|homosexuelle|lesbienne|bisexuel|bisexuelle|\
        orientation sexuelle|vie sexuelle|lesbiana|bisexual|orientación sexual|vida sexual|\
        omosessuale|lesbica|bisessuale|orientamento sessuale|vita sessuale|lésbica|homossexual|bissexual|\
        orientação sexual|homoseksueel|biseksueel|seksuele geaardheid|seksuele voorkeur|gejem|lesbijką|\
        lesbijka|homoseksualist|biseksualn|orientacja seksualna|orientację seksualną|homosexuell|\
        lesbisk|sexuell läggning|гей|геем|лесбиянк|бисексуал|гомосексуал|сексуальная ориентация|\
        сексуальной ориентации",
    ),
    // Genetic and biometric data
    (
        Category,
        1.0,
        "genetic test|genetic testing|genetic data|genetic results|dna test|dna profile|dna sample|brca1|\
        brca2|gene mutation|carrier of the|huntington's|whole genome|fingerprint|fingerprints|\
        biometric|biometrics|biometric data|iris scan|retina scan|face template|facial recognition|\
        voiceprint|gentest|dna-test|genetische|fingerabdruck|fingerabdrücke|biometrisch|biometrische|\
        test génétique|test adn|empreintes digitales|empreinte digitale|biométrique|biométriques|\
        prueba genética|prueba de adn|huella dactilar|huellas dactilares|biométrico|biométricos|\
        test genetico|test del dna|impronte digitali|impronta digitale|biometrico|biometrici|\
        teste genético|teste de adn|teste de dna|impressões digitais|impressão digital|\
        genetische test|vingerafdruk|vingerafdrukken|test genetyczny|testu genetycznego|odcisk palca|\
        odciski palców|biometryczne|biometrycznych|genetiskt test|fingeravtryck|biometriska|\
        генетическ|отпечатки пальцев|отпечаток пальца|биометрическ",
    ),
    // Convictions
    (
        Category,
        1.0,
        "criminal record|criminal records|criminal history|criminal background|prior convictions|convicted|\
        conviction|felony|misdemeanor|misdemeanour|arrested|arrest record|on probation|on parole|\
        served time|prison sentence|sex offender|dui|vorstrafe|vorstrafen|vorbestraft|führungszeugnis|\
        verurteilt|freiheitsstrafe|haftstrafe|casier judiciaire|condamné|condamnée|\
        condamnation pénale|peine de prison|antecedentes penales|condenado|condenada|condena penal|\
        precedenti penali|casellario giudiziale|fedina penale|condannato|condannata|\
        antecedentes criminais|registo criminal|registro criminal|strafblad|veroordeeld|\
        karany|karana|niekaralności|skazany|skazana|wyrok skazujący|belastningsregistret|dömd för|\
        dömdes för|fängelsestraff|судимост|осужден|осуждён|уголовн",
    ),
    // What can only be said of one person
    (
        Said,
        1.3,
        "religion:|religious affiliation:|ethnicity:|race:|sexual orientation:|political affiliation:|\
        union member:|criminal record:|konfession:|religionszugehörigkeit:|staatsangehörigkeit und religion|\
        ethnie:|confession:|orientación sexual:|religión:|religione:|religião:|godsdienst:|wyznanie:|\
        trosuppfattning:|вероисповедание:|национальность:|is a registered sex offender|\
        was convicted of|has been convicted of|pleaded guilty to|has a criminal record|\
        ist vorbestraft|wurde verurteilt wegen|a un casier judiciaire|tiene antecedentes penales|\
        ha precedenti penali|tem antecedentes criminais|heeft een strafblad|był karany|była karana|\
        finns i belastningsregistret|имеет судимость|tested positive for brca1|tested positive for brca2",
    ),
    (
        Known,
        1.0,
        "my|i am|i'm|i have|i was|my husband|my wife|my partner|my colleague|our colleague|my coworker|\
        our employee|the employee|this employee|employee|applicant|the applicant|the candidate|the customer|\
        our customer|the client|our client|the tenant|the defendant|the accused|the patient|\
        my neighbour|my neighbor|my boss|my friend|my boyfriend|my girlfriend|my brother|my sister|\
        ich bin|ich habe|mein|meine|meinem|meiner|unser mitarbeiter|unsere mitarbeiterin|der mitarbeiter|\
        die mitarbeiterin|der bewerber|die bewerberin|der kunde|die kundin|der mieter|der angeklagte|\
        der patient|die patientin|je suis|j'ai|mon|ma|mes|notre employé|l'employé|l'employée|\
        le salarié|la salariée|le candidat|la candidate|le client|la cliente|le locataire|soy|tengo|\
        mi|mis|nuestro empleado|nuestra empleada|el empleado|la empleada|el candidato|la candidata|\
        el cliente|la clienta|el inquilino|io sono|sono|mio|mia|il dipendente|la dipendente|\
        il candidato|la candidata|il cliente|l'inquilino|eu sou|sou|meu|minha|o funcionário|\
        a funcionária|o candidato|a candidata|o cliente|ik ben|mijn|de medewerker|de werknemer|\
        de sollicitant|de kandidaat|de klant|de huurder|jestem|mój|moja|mojego|mojej|pracownik|\
        pracownica|kandydat|kandydatka|klient|klientka|jag är|min|mitt|medarbetaren|den anställde|\
        sökanden|kunden|моя |мой |моего |моей |сотрудник|кандидат|клиент|я ",
    ),
    (
        Somebody,
        1.0,
        "he is|he's|she is|she's|they are openly|his|her|hers|he has|she has|mr|mrs|ms|er ist|sie ist|\
        er hat|sie hat|seine|ihre|herr|frau|il est|elle est|il a|elle a|monsieur|madame|él es|ella es|\
        su|señor|señora|lui è|lei è|signor|signora|suo|sua|ele é|ela é|senhor|senhora|hij is|zij is|\
        hij heeft|zij heeft|haar|zijn|meneer|mevrouw|on jest|ona jest|jego|jej|pan|pani|han är|\
        hon är|hans|hennes|он |она |его |её ",
    ),
    (
        Article,
        1.0,
        "century|centuries|founded in|was founded|population|historian|historians|theology|theologian|\
        scholars|census|bishop|archbishop|diocese|dynasty|empire|emperor|monastery|cathedral|\
        was born in|was an american|was a british|was a german|novel|album|the film|professor of|\
        what is|explain|essay|according to the|jahrhundert|gegründet|bevölkerung|bistum|siècle|\
        fondée en|siglo|fundada en|secolo|fondata nel|século|fundada em|eeuw|opgericht|wieku|\
        założony|århundradet|grundades|века|году был|население",
    ),
    // Children: who they are
    (
        T(Topic::Minors),
        1.0,
        "my son|my daughter|my child|my kid|our son|our daughter|our child|the minor|a minor|minor child|\
        under the age of 18|underage|schoolchild|pupil|pupil's|foster child|ward of the court|toddler|\
        mein sohn|meine tochter|mein kind|meinem sohn|meiner tochter|unser sohn|unsere tochter|minderjährig|\
        minderjährige|minderjährigen|schüler|schülerin|pflegekind|mon fils|ma fille|mon enfant|notre fils|\
        notre fille|mineur|mineure|élève|enfant placé|mi hijo|mi hija|nuestro hijo|nuestra hija|\
        menor de edad|alumno|alumna|mio figlio|mia figlia|nostro figlio|minorenne|alunno|alunna|\
        meu filho|minha filha|nosso filho|menor de idade|aluno|aluna|mijn zoon|mijn dochter|mijn kind|\
        onze zoon|onze dochter|minderjarig|minderjarige|leerling|pleegkind|mój syn|moja córka|\
        mojego syna|mojej córki|nieletni|małoletni|małoletnia|uczeń|uczennica|min son|min dotter|mitt barn|\
        vår son|vår dotter|minderårig|underårig|elev|eleven|мой сын|моя дочь|моего сына|моей дочери|\
        несовершеннолет|ученик|ученица|школьник",
    ),
    // Who looks after them, and where
    (
        T(Topic::Minors),
        0.55,
        "guardian|legal guardian|parental consent|parent or guardian|custody|child custody|child support|\
        foster care|child protection|child protective services|safeguarding|school nurse|school counselor|\
        school counsellor|homeroom|elementary school|primary school|middle school|kindergarten|preschool|\
        daycare|nursery school|first grade|second grade|third grade|fourth grade|fifth grade|\
        sixth grade|seventh grade|eighth grade|report card|special education|iep|parents' evening|\
        erziehungsberechtigte|erziehungsberechtigten|sorgerecht|jugendamt|grundschule|kita|klassenlehrer|\
        klassenlehrerin|zeugnis|einverständnis der eltern|tuteur légal|responsable légal|\
        autorisation parentale|garde des enfants|école primaire|collège|maternelle|crèche|\
        tutor legal|patria potestad|custodia|consentimiento de los padres|escuela primaria|guardería|\
        tutore|genitori|affidamento|scuola elementare|scuola media|asilo nido|encarregado de educação|\
        guarda dos filhos|escola primária|creche|voogd|voogdij|ouderlijk gezag|basisschool|\
        kinderopvang|jeugdzorg|opiekun prawny|władza rodzicielska|szkoła podstawowa|\
        szkoły podstawowej|przedszkole|przedszkola|vårdnadshavare|vårdnad|grundskola|förskola|\
        socialtjänsten barn|опекун|опека|детский сад|начальная школа|родители",
    ),
    (
        T(Topic::Minors),
        0.15,
        "child|children|kid|kids|school|teacher|classmate|kind|kinder|schule|lehrerin|enfant|enfants|école|\
        niño|niña|niños|escuela|bambino|bambina|bambini|scuola|criança|crianças|escola|kinderen|school|\
        dziecko|dzieci|szkoła|barn|skola|ребёнок|ребенок|дети|школа",
    ),
];
