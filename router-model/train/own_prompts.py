"""Prompts written for this project (CC0), as templates with slots.

The public sources hold benchmark questions and prompts picked for being hard, but hardly any everyday request, and
labels only in English and Chinese. These templates give the absolute scale its lower end, in many languages.
They carry no measured label: `train.py` assigns one level to each kind. None of them is in
`tests/data/everyday.jsonl`.
"""

import itertools
import random

SEED = 7
PER_TEMPLATE = 8

SLOTS = {
    "country": ["Portugal", "Kenya", "Norway", "Vietnam", "Chile", "Poland", "Egypt", "New Zealand"],
    "thing": ["umbrella", "bicycle", "library card", "washing machine", "lemon", "thermostat", "passport", "houseplant"],
    "animal": ["hedgehog", "dolphin", "owl", "ant", "camel", "octopus"],
    "lang": ["Spanish", "French", "Italian", "Japanese", "Dutch", "Polish"],
    "sentence": ["The parcel arrived a day late.", "We should meet on Tuesday after lunch.", "I lost my keys on the train.",
                 "The soup was cold but the bread was good.", "Please send me the file by Friday.", "Your room is ready."],
    "paragraph": [
        "The town council voted on Monday to extend the opening hours of the public pool. From June on it will open at seven in "
        "the morning and close at ten at night. Season tickets stay at the same price.",
        "Our team shipped the new settings page last week. Most users found it easier to use, but some missed the old search box. "
        "We will bring the box back in the next release and keep the new layout.",
        "Bees visit flowers to collect nectar and pollen. While they do so, they carry pollen from one blossom to the next, and the "
        "plants can form seeds. Without bees many fruits would become rare.",
        "The hotel is close to the station and the staff were friendly. The room was small and the window faced a busy street, so "
        "it was noisy at night. Breakfast was generous and included in the price.",
    ],
    "topic": ["autumn", "a lost sock", "the first day at work", "a rainy morning", "two old friends", "a small bakery"],
    "number": ["12", "45", "7", "130", "18", "64"],
    "person": ["my manager", "a neighbour", "a new colleague", "our landlord", "the school", "a customer"],
    "system": ["a ride-sharing marketplace", "a multi-region payment ledger", "a real-time collaborative editor", "a video streaming platform",
               "an event ticketing system with flash sales", "a telemetry pipeline for a million devices"],
    "structure": ["a lock-free hash map", "a B+ tree with range deletes", "a persistent segment tree", "a work-stealing scheduler",
                  "a log-structured merge store", "an interval tree with lazy propagation"],
    "language": ["Rust", "C++", "Go", "TypeScript", "Python", "Haskell"],
    "theorem": ["every bounded monotone sequence of reals converges", "the sum of two algebraic numbers is algebraic",
                "a finite integral domain is a field", "the set of primes congruent to 3 modulo 4 is infinite",
                "every compact metric space is separable", "a continuous bijection from a compact space to a Hausdorff space is a homeomorphism"],
    "disease": ["progressive dyspnoea and bilateral hilar lymphadenopathy", "recurrent syncope with a normal resting ECG",
                "fever, migratory joint pain and a new murmur", "subacute cognitive decline with gait ataxia and hyponatraemia"],
    "clause": ["a limitation of liability that excludes gross negligence", "an automatic renewal with a silent price increase",
               "a non-compete of twenty-four months for a remote worker in three states", "a change-of-control clause with an earn-out"],
    "n": ["10^5", "2*10^5", "10^6", "5000"],
}

ROUTINE = [
    ("open_qa", "Which language do people speak in {country}?"),
    ("open_qa", "what currency is used in {country}"),
    ("open_qa", "What is a {thing}?"),
    ("open_qa", "How long does a {animal} live?"),
    ("open_qa", "what do {animal}s eat"),
    ("open_qa", "Is {country} in the northern hemisphere?"),
    ("open_qa", "Name three cities in {country}."),
    ("open_qa", "How many minutes are there in {number} hours?"),
    ("math", "What is {number} plus {number}?"),
    ("math", "{number} * 3"),
    ("math", "Convert {number} inches to centimetres."),
    ("rewriting", "Translate into {lang}: {sentence}"),
    ("rewriting", "Translate the following sentence to {lang}.\n\n{sentence}"),
    ("rewriting", "How do you say \"{sentence}\" in {lang}?"),
    ("rewriting", "Rephrase this so that it sounds friendlier: {sentence}"),
    ("rewriting", "Make this more formal: {sentence}"),
    ("rewriting", "Fix the grammar: {sentence}"),
    ("rewriting", "Shorten this text: {paragraph}"),
    ("summarization", "Summarize in one sentence:\n\n{paragraph}"),
    ("summarization", "Give me a short summary of the text below.\n{paragraph}"),
    ("summarization", "{paragraph}\n\ntl;dr"),
    ("classification", "Is this review positive or negative? {paragraph}"),
    ("classification", "Label the sentiment of this message as positive, neutral or negative: {sentence}"),
    ("classification", "Is the following text about sports, politics or business?\n{paragraph}"),
    ("extraction", "List all the days and months that are mentioned here: {paragraph}"),
    ("extraction", "Extract the time from this sentence: {sentence}"),
    ("closed_qa", "{paragraph}\n\nAccording to the text, what stays the same?"),
    ("creative_writing", "Write a two-line birthday wish for {person}."),
    ("creative_writing", "Write a short haiku about {topic}."),
    ("creative_writing", "Suggest a title for a blog post about {topic}."),
    ("constrained_generation", "Give me five words that rhyme with \"{animal}\"."),
    ("howto", "How do I clean a {thing}?"),
    ("howto", "how to say no to {person} politely"),
    ("instruction", "Write a short email to {person} saying that I will be ten minutes late."),
    ("instruction", "Draft a thank-you note to {person}."),
    ("instruction", "Give me a synonym for \"{topic}\"."),
    ("instruction", "Write a subject line for an email to {person}."),
    ("open_ended", "Hi there!"), ("open_ended", "good evening"), ("open_ended", "hey, how's it going"), ("open_ended", "thank you so much"),
    ("open_ended", "ok"), ("open_ended", "Tell me something nice about {country}"), ("open_ended", "Good morning, are you there?"),
    ("code", "How do I print a line in {language}?"),
    ("code", "What does the len function do?"),
    ("rewriting", "Übersetze ins Englische: Der Zug fährt um acht Uhr ab."), ("summarization", "Fasse den folgenden Absatz kurz zusammen: {paragraph}"),
    ("open_qa", "Wie heißt der längste Fluss in Deutschland?"), ("rewriting", "Formuliere diesen Satz höflicher: Schick mir das sofort."),
    ("rewriting", "Traduis en anglais : Le train part à huit heures."), ("open_qa", "Quel est le plus grand océan ?"),
    ("summarization", "Résume ce paragraphe en une phrase : {paragraph}"), ("open_qa", "¿Cuál es el río más largo de España?"),
    ("rewriting", "Traduce al inglés: El tren sale a las ocho."), ("rewriting", "Corrige este texto: Yo tener dos gatos."),
    ("open_qa", "Qual è la capitale del Perù?"), ("rewriting", "Traduci in inglese: Il treno parte alle otto."),
    ("open_qa", "Quantos dias tem fevereiro?"), ("rewriting", "Traduza para o inglês: O trem parte às oito."),
    ("open_qa", "Hoeveel dagen heeft een jaar?"), ("rewriting", "Przetłumacz na angielski: Pociąg odjeżdża o ósmej."),
    ("open_qa", "Какой самый большой океан?"), ("rewriting", "Переведи на английский: Поезд отправляется в восемь."),
    ("summarization", "Сделай краткое содержание: {paragraph}"), ("open_qa", "世界上最长的河是哪条？"), ("rewriting", "把这句话翻译成英文：火车八点出发。"),
    ("summarization", "请用一句话概括下面这段话：{paragraph}"), ("open_qa", "日本で一番高い山は何ですか？"), ("rewriting", "次の文を英語に翻訳してください：電車は八時に出ます。"),
    ("open_qa", "한국의 수도는 어디인가요?"), ("rewriting", "다음 문장을 영어로 번역해 줘: 기차는 여덟 시에 출발한다."),
    ("open_qa", "ما هي عاصمة المغرب؟"), ("rewriting", "ترجم إلى الإنجليزية: يغادر القطار في الثامنة."), ("open_qa", "Türkiye'nin en büyük gölü hangisi?"),
    ("open_ended", "Guten Abend!"), ("open_ended", "Salut, ça va ?"), ("open_ended", "¡Buenas noches!"), ("open_ended", "早上好"), ("open_ended", "おはよう"),
]

HARD = [
    ("code", "Design {system}. Cover the data model, partitioning, failure modes, consistency guarantees, back-pressure and how you would test it. "
             "Justify each trade-off and estimate the capacity for fifty million users."),
    ("code", "Architect {system} that survives the loss of a region without losing acknowledged writes; explain the replication protocol and its invariants."),
    ("code", "Implement {structure} in {language} with generics, iterators, full error handling and property tests. It must be thread-safe, must not allocate "
             "on the hot path, and the amortized complexity of each operation has to be stated and justified."),
    ("code", "Here is my {language} implementation of {structure}; under concurrent load it sometimes loses updates. Find the race, explain the memory "
             "ordering that is needed and give a corrected version with a stress test."),
    ("code", "You are given an array of {n} integers and {n} queries, each of which assigns a value to a range or asks for the maximum subarray sum of a range. "
             "Give an algorithm that answers all queries within two seconds, prove its complexity and implement it in {language}."),
    ("code", "Given a tree with {n} nodes with weights on its edges, count the pairs of nodes whose path has a length divisible by k. Time limit 1 s. Provide the "
             "solution in {language} and prove correctness."),
    ("code", "Refactor this {language} monolith into services: propose the boundaries, the migration plan with no downtime, the data ownership, the rollback strategy "
             "and the observability needed at each step."),
    ("math", "Prove that {theorem}."),
    ("math", "Prove or disprove: {theorem}. Give a rigorous proof and discuss which hypotheses can be weakened."),
    ("math", "Let $f$ be a twice continuously differentiable function on $[0,1]$ with $f(0)=f(1)=0$. Prove that $\\int_0^1 |f''(x)|\\,dx \\ge 4 \\max |f(x)|$ and "
             "determine all cases of equality."),
    ("math", "Find all functions $f:\\mathbb{{R}}\\to\\mathbb{{R}}$ such that $f(x+f(y)) = f(x) + y^{number}$ for all real $x, y$."),
    ("math", "Derive the asymptotic distribution of the maximum likelihood estimator under misspecification and compare it with the sandwich estimator for {number} clusters."),
    ("reasoning", "A patient presents with {disease}. Work through the differential diagnosis, rank the candidates with likelihoods, say which test discriminates best "
                  "at each step, and describe how treatment changes if the first result is equivocal."),
    ("reasoning", "Our supplier agreement contains {clause}. Analyse its enforceability under German and under New York law, the risks for both parties, and redraft it "
                  "with a fallback position and negotiation arguments."),
    ("reasoning", "Compare three approaches to {system} with respect to cost, latency and regulatory risk, quantify your assumptions, do a sensitivity analysis and "
                  "recommend one to the board."),
    ("constrained_generation", "Write a detailed twelve-month migration plan for {system}: dependencies, staffing, budget, risks with mitigations, acceptance criteria for each "
                               "milestone, and a decision log. Every milestone must have at least two measurable exit criteria and no more than three owners."),
    ("reasoning", "Five engineers share three servers; no two who disagree may share one, Ada only works next to Bo, Cy must precede Dee, and Eli works every second "
                  "shift. Derive every valid schedule for {number} shifts and prove that there are no others."),
    ("code", "Write a compiler pass in {language} that converts SSA form to machine code with graph-colouring register allocation, spilling and coalescing; explain why "
             "it terminates."),
    ("math", "Beweise, dass jede stetige Funktion auf einem kompakten Intervall gleichmäßig stetig ist, und gib ein Gegenbeispiel für offene Intervalle an."),
    ("code", "Entwirf ein verteiltes System für {system}: Konsistenzmodell, Partitionierung, Ausfallszenarien und Teststrategie, mit Begründung jeder Entscheidung."),
    ("math", "Démontrez que l'ensemble des nombres premiers est infini de trois manières différentes et comparez les hypothèses utilisées."),
    ("code", "Concevez une architecture distribuée pour {system} et analysez les compromis entre cohérence, disponibilité et latence."),
    ("math", "Demuestra que toda sucesión de Cauchy en un espacio completo converge y analiza qué falla en un espacio no completo."),
    ("code", "Diseña e implementa en {language} un planificador concurrente tolerante a fallos y demuestra que no produce interbloqueos."),
    ("code", "Progetta un'architettura tollerante ai guasti per {system}, analizza i compromessi e dimostra la correttezza del protocollo."),
    ("math", "Докажите, что любая ограниченная последовательность имеет сходящуюся подпоследовательность, и приведите контрпример для бесконечномерного пространства."),
    ("code", "Спроектируй распределённую систему для {system}: модель согласованности, шардирование, отказоустойчивость; обоснуй каждое решение."),
    ("math", "证明：任意有限整环都是域，并讨论在无限情形下为什么不成立。"), ("code", "设计一个支持每秒百万次写入的分布式消息队列，详细分析一致性、分区、故障恢复的权衡，并用 {language} 实现核心算法。"),
    ("code", "大規模な分散データベースを設計し、整合性、可用性、遅延のトレードオフを詳しく分析して、中心となるアルゴリズムを実装してください。"),
    ("math", "모든 유계 수열이 수렴하는 부분수열을 가진다는 것을 증명하고 반례를 들어 조건이 필요한 이유를 자세히 설명하세요."),
    ("code", "صمم نظاما موزعا يتحمل الأعطال، وحلل المقايضات بين الاتساق والتوفر، ثم أثبت صحة البروتوكول."),
    ("code", "{system} için hataya dayanıklı dağıtık bir mimari tasarla, ödünleşimleri analiz et ve protokolün doğruluğunu kanıtla."),
    ("code", "Zaprojektuj rozproszony system dla {system}, przeanalizuj kompromisy i udowodnij poprawność protokołu."),
    ("code", "Projete uma arquitetura distribuída para {system}, analise os compromissos e demonstre a correção do protocolo."),
]


def generate():
    """Yields (kind, task, text); the same list on every run."""
    rng = random.Random(SEED)
    for kind, templates in (("routine", ROUTINE), ("hard", HARD)):
        seen = set()
        for task, template in templates:
            for _ in range(PER_TEMPLATE):
                text = template.format(**{name: rng.choice(values) for name, values in SLOTS.items()})
                if text not in seen:
                    seen.add(text)
                    yield kind, task, text


if __name__ == "__main__":
    for kind, count in itertools.groupby(sorted(row[0] for row in generate())):
        print(kind, len(list(count)))
