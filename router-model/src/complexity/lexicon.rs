//! Word classes: which words hint at what kind of work and how hard it is.
//!
//! One word may be in several classes. Pairs are written with `_` between their words. Lists are in English
//! first, with the words that carry a request in other languages beside them, so that the hand features keep
//! their meaning where no labelled prompts exist.

use super::hash::{self, Fnv};

macro_rules! classes {
    ($($(#[$meta:meta])* $name:ident = $words:expr),+ $(,)?) => {
        /// A class of words.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(usize)]
        pub(super) enum Class { $($(#[$meta])* $name),+ }

        const LISTS: &[(Class, &str)] = &[$((Class::$name, $words)),+];
    };
}

classes! {
    /// Asks for a fact.
    Fact = "what who when where which whose whom was ist wer wann wo welche welcher welches qui quand où quel quelle \
        quién cuándo dónde cuál cuáles chi quando dove quale wie_heißt wat wanneer waar kto kiedy gdzie co vem vad var \
        hvem hvad hvor mikä kuka missä kdo kdy kde kim nerede кто когда где что хто коли де 谁 哪 什么 哪里 何時 誰 どこ \
        언제 누구 어디 siapa kapan mana ai_là ở_đâu من متى أين כמה מי מתי איפה कौन कब कहाँ ใคร เมื่อไหร่ ที่ไหน",
    /// Asks for a reason, a way or a comparison.
    Why = "why how explain compare contrast analyze analyse describe discuss evaluate justify reason reasons cause causes \
        effect effects difference differences warum wieso weshalb wie erkläre erklären vergleiche analysiere begründe pourquoi \
        comment explique expliquez comparez analysez por_qué cómo explica analiza compara perché come spiega analizza por_que \
        como explique analise waarom hoe leg_uit dlaczego jak wyjaśnij varför hur förklara hvorfor hvordan miksi proč neden \
        nasıl почему как объясни объясните сравни проанализируй чому поясни 为什么 为何 如何 解释 比较 分析 なぜ 説明 比較 \
        왜 설명 비교 분석 mengapa bagaimana jelaskan tại_sao giải_thích لماذا كيف اشرح למה איך הסבר क्यों कैसे समझाइए",
    /// Asks for work that small models tend to fail at.
    Hard = "prove proof derive derivation design architect architecture implement optimize optimise refactor debug \
        formalize formulate synthesize critique simulate algorithm algorithms complexity scalable distributed concurrency \
        concurrent fault_tolerant consensus linearizable theorem lemma asymptotic eigenvalue integral convergence \
        differential jurisdiction liability diagnosis prognosis trade_offs tradeoffs rigorous rigorously counterexample \
        multi_tenant migration throughput latency consistency invariant amortized np_hard reduction backpropagation \
        beweise beweisen entwirf entwerfen implementiere optimiere herleiten leite_her démontrer démontrez concevez \
        concevoir implémentez optimisez demuestra demostrar diseña implementa optimiza dimostra progetta implementare \
        prove_que demonstre projete bewijs ontwerp udowodnij zaprojektuj zaimplementuj bevisa utforma bevis todista suunnittele \
        dokažte navrhněte kanıtla tasarla uygula докажи докажите спроектируй реализуй оптимизируй выведи доведи спроєктуй \
        证明 推导 设计 实现 优化 算法 架构 分布式 证 証明 設計 実装 最適化 アルゴリズム 증명 설계 구현 최적화 알고리즘 \
        buktikan rancang implementasikan chứng_minh thiết_kế أثبت صمم برهن הוכח תכנן सिद्ध डिज़ाइन พิสูจน์ ออกแบบ",
    /// Asks for work that small models do well.
    Routine = "translate translation summarize summarise summary rewrite rephrase paraphrase shorten proofread correct fix_the \
        spelling grammar list classify classification label categorize categorise extract convert format capitalize sort \
        name define definition synonym synonyms antonym headline title tagline caption greeting email_to subject_line \
        bullet_points polite politely formal tone sentiment positive_or yes_or true_or übersetze übersetzen zusammenfassen \
        fasse zusammenfassung umformulieren formuliere korrigiere nenne klassifiziere extrahiere traduis traduisez traduire \
        résume résumez résumer reformule reformulez corrige corrigez classe extrais traduce traducir resume resumir reescribe \
        clasifica extrae traduci riassumi riscrivi correggi classifica estrai traduza resuma reescreva corrija classifique \
        extraia vertaal vat_samen herschrijf przetłumacz streść przeredaguj popraw översätt sammanfatta skriv_om oversæt \
        opsummer käännä tiivistä přelož shrň çevir özetle переведи переведите кратко перескажи исправь классифицируй \
        извлеки переклади стисло 翻译 总结 概括 改写 润色 分类 提取 列出 翻訳 要約 書き直 分類 抽出 번역 요약 고쳐 분류 \
        terjemahkan ringkas dịch tóm_tắt ترجم لخص תרגם סכם अनुवाद सारांश แปล สรุป",
    /// Bounds the answer.
    Constraint = "must exactly at_least at_most no_more only without ensure ensuring should_not do_not don't avoid \
        including include using use given assume assuming subject_to constraint constraints requirement requirements \
        required require words_or limit within between each every mindestens höchstens genau ohne muss müssen \
        exactement sans doit exactamente sin debe esattamente senza deve exatamente sem ровно без должен 必须 不得 至少 至多 \
        恰好 必ず 以上 以内 반드시 이상",
    /// Negation.
    Negation = "not no never none nor neither nothing except cannot can't isn't doesn't don't won't least incorrect false \
        nicht kein keine ne_pas jamais ninguno nunca non mai não nie не нет 不 没 非 ない 않",
    /// Connects premises and conclusions.
    Logic = "if then else unless therefore thus hence because since whether either or implies suppose assume given let such \
        such_that iff all some any there_exists for_all respectively conversely wenn falls daher si donc alors entonces \
        quindi então если то поэтому 如果 则 因此 所以 假设 设 もし ならば 만약",
    /// Speaks of amounts.
    Quantity = "half third quarter twice double triple total sum remaining left each every per average mean percent percentage \
        ratio rate times dozen pair number amount many much more less fewer most altogether combined difference product \
        remainder how_many how_much insgesamt wie_viele combien cuántos quanti сколько 多少 几 总共 いくつ 몇",
    /// Units of time, money and measure.
    Unit = "second seconds minute minutes hour hours day days week weeks month months year years dollar dollars cent cents euro \
        euros pound pounds inch inches foot feet yard yards mile miles meter meters metres km cm mm kg gram grams liter \
        liters gallon gallons ounce ounces degrees celsius volts amps watts joules newtons moles",
    /// Compares.
    Compare = "than larger smaller greater bigger higher lower older younger taller longer shorter faster slower better worse best \
        worst same equal equally similar different",
    /// Mathematics.
    Math = "equation equations function functions polynomial matrix matrices vector triangle circle angle radius perimeter area \
        volume integer integers prime probability derivative integral modulo remainder divisible factor factors root roots \
        graph set sequence series limit random variable variables permutation combinations real positive coordinates \
        perpendicular parallel hypotenuse complex tangent cosine sine solve simplify evaluate compute calculate find",
    /// Natural sciences.
    Science = "energy force mass velocity acceleration electron electrons proton atom atoms molecule molecules reaction acid \
        chemical temperature pressure wave waves light magnetic electric field quantum cell cells protein dna gene genes \
        species evolution planet star orbit gravity heat enzyme organism photosynthesis membrane isotope entropy",
    /// Computing.
    Computing = "code program function class method array string list dictionary python javascript java rust sql database \
        query server api http thread process memory cpu compiler recursion pointer loop variable regex json html css \
        kubernetes docker linux bash script algorithm data_structure hash tree graph cache queue react node typescript go \
        error exception bug stack compile runtime backend frontend 代码 程序 函数 コード 関数 코드 함수 код функция",
    /// Law.
    Law = "court law laws plaintiff defendant contract statute constitutional constitution criminal crime murder negligence tort \
        liability liable jurisdiction appeal evidence testimony attorney lease property amendment legal clause gdpr vertrag \
        klage gericht contrat tribunal contrato договор суд 合同 法律 法院 契約 계약",
    /// Medicine.
    Medicine = "patient patients disease symptoms symptom diagnosis treatment clinical infection blood pain drug dose syndrome \
        cancer therapy surgery physician fever chronic acute history_of examination serum artery lesion nerve medication \
        patientin diagnose symptome пациент диагноз 患者 诊断 症状 診断 환자",
    /// Economics and business.
    Economics = "market price prices demand supply cost costs tax taxes interest inflation monetary fiscal economy firm revenue profit \
        investment stock bond portfolio capital trade monopoly marginal budget accounting audit valuation",
    /// Humanities.
    Humanities = "moral ethics ethical philosophy philosopher argument kant utilitarianism religion historical war revolution century \
        empire treaty social society culture political government psychology behavior theory sociology passage author",
    /// Opens or closes a conversation.
    Greeting = "hi hello hey thanks thank bye goodbye morning evening hallo danke tschüss bonjour merci salut hola gracias ciao \
        grazie olá obrigado obrigada hej tack cześć dziękuję привет спасибо 你好 谢谢 こんにちは ありがとう 안녕 감사 merhaba \
        teşekkürler halo terima_kasih xin_chào cảm_ơn مرحبا شكرا שלום תודה नमस्ते धन्यवाद สวัสดี ขอบคุณ ahoj děkuji hei kiitos",
    /// Refers back to what was said.
    FollowUp = "continue proceed more again above previous that this it same shorter longer also now instead another next further \
        weiter mehr nochmal continue_please sigue continúa más continua ancora dalej fortsätt продолжай дальше ещё 继续 接着 \
        続けて もっと 계속 devam teruskan tiếp_tục استمر המשך",
    /// Ends a topic without asking for work.
    Closer = "thanks thank bye goodbye perfect great cool danke super merci parfait gracias perfecto grazie perfetto obrigado \
        obrigada dziękuję tack спасибо 谢谢 ありがとう 감사합니다 teşekkürler shukran شكرا תודה",
    /// Stories and the like.
    Creative = "story poem haiku song lyrics novel essay dialogue scene character characters fiction limerick rhyme sonnet \
        screenplay geschichte gedicht poème histoire cuento poema storia poesia wiersz opowiadanie рассказ стих стихотворение \
        故事 诗 小说 物語 詩 소설 시",
    /// Names an everyday domain.
    Everyday = "recipe cook dinner weather birthday party movie music travel trip dog cat pet shopping weekend breakfast lunch \
        color colour favorite capital city country school friend family mother father kids children store bought buys",
    /// Demands depth or many steps.
    Depth = "step_by detailed detail comprehensive thorough thoroughly in_depth advanced complex expert experts comprehensively \
        end_to production full complete entire multiple several various steps strategy framework \
        research nuanced edge_cases ausführlich detailliert détaillé detallado dettagliato подробно 详细 逐步 詳細 자세히",
    /// Programming keywords.
    Keyword = "def return import class const let var void int float string bool public private static async await fn struct impl \
        select from where while for elif lambda print assert null none true false self this new try except catch throw",
    /// Abstract or scholarly words of thought.
    Abstract = "concept theory hypothesis principle interpretation implication implications significance perspective paradigm \
        methodology empirical theoretical epistemology ontology normative heuristic causal inference equilibrium dynamics",
}

pub(super) const CLASSES: usize = LISTS.len();

const SLOTS: usize = 8192;

/// An open-addressing table from word hash to the set of its classes.
#[derive(Debug)]
pub(super) struct Lexicon {
    slots: Vec<(u64, u32)>,
}

impl Lexicon {
    pub(super) fn new() -> Self {
        let mut table = Self { slots: vec![(0, 0); SLOTS] };
        for &(class, words) in LISTS {
            for entry in words.split_whitespace() {
                table.add(hash_entry(entry), 1 << class as usize);
            }
        }
        table
    }

    fn add(&mut self, hash: u64, bits: u32) {
        let mut at = hash as usize % SLOTS;
        while self.slots[at].1 != 0 && self.slots[at].0 != hash {
            at = (at + 1) % SLOTS;
        }
        self.slots[at] = (hash, self.slots[at].1 | bits);
    }

    /// The classes of a word, as a bit set in the order of [`Class`].
    pub(super) fn classes(&self, hash: u64) -> u32 {
        let mut at = hash as usize % SLOTS;
        loop {
            match self.slots[at] {
                (_, 0) => return 0,
                (known, bits) if known == hash => return bits,
                _ => at = (at + 1) % SLOTS,
            }
        }
    }
}

fn hash_entry(entry: &str) -> u64 {
    match entry.split_once('_') {
        Some((first, second)) => hash::pair(hash_word(first), hash_word(second)),
        None => hash_word(entry),
    }
}

fn hash_word(word: &str) -> u64 {
    let mut fnv = Fnv::default();
    word.chars().flat_map(char::to_lowercase).for_each(|letter| fnv.push(letter));
    fnv.finish()
}
