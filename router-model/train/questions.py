"""Makes questions whose answers can be checked, for labelling with the model that is shipped.

    python router-model/train/questions.py --data PATH_TO_ROUTING_DATA --out questions.jsonl
    sluicegate eval model --data questions.jsonl --answers answers.jsonl --concurrency 8 --allow-code-execution
    python router-model/train/labels.py --questions questions.jsonl --answers answers.jsonl

Checkable questions are of two kinds: questions of the routing data whose answer follows from the question itself (code to trace is run, numbers to
compare are compared, functions come with their assertions), and templates written for this project (CC0) whose answer is
computed with the question. The id is `source/group/number`: a group is a template or a prompt's hash, and stays together
when rows are split. With `--open N`, N prompts without a right answer are added (category `open`): they tell how long answers are.
Everything that is traced is run in a child process without privileges over this one; still, use a container.
"""

import argparse
import ast
import calendar
import datetime
import gzip
import json
import pathlib
import random
import re
import subprocess
import sys

import own_prompts

SEED = 20261122
CRUX, NUMERSENSE, MBPP, PER_TEMPLATE = 220, 60, 260, 30
NAMES = ["Ana", "Ben", "Chidi", "Dora", "Emil", "Farah", "Goran", "Hana", "Iris", "Jonas", "Kofi", "Lena", "Mina", "Noor", "Otto", "Priya"]
ITEMS = ["apples", "pencils", "stickers", "marbles", "tickets", "bottles", "postcards", "candles", "screws", "cookies"]
BRIEF = " Answer with the number only."


def word_problems(rng):
    """(template, question, answer), from one step to six."""
    a, b, c, d = (rng.randint(3, 60) for _ in range(4))
    n, m = rng.sample(NAMES, 2)
    item, other = rng.sample(ITEMS, 2)
    k, price, off = rng.randint(3, 12), rng.randint(2, 25), rng.choice([10, 20, 25, 50])
    yield "sum", f"{n} has {a} {item} and buys {b} more. How many {item} does {n} have now?", a + b
    yield "give", f"{n} had {a + b + c} {item}. {n} gave {a} to {m} and lost {b}. How many {item} are left?", c
    yield "times", f"A box holds {k} {item}. {n} has {a} boxes and {b} loose {item}. How many {item} is that in all?", k * a + b
    yield "price", (f"{n} buys {k} {item} at {price} dollars each and pays with {k * price + a} dollars. "
                    f"How many dollars of change does {n} get?"), a
    yield "discount", (f"A coat costs {price * 20} dollars. It is reduced by {off} %, and {n} also has a voucher for {k} dollars that is "
                       f"taken off afterwards. How many dollars does {n} pay?"), price * 20 * (100 - off) // 100 - k
    yield "ages", (f"{n} is {k} years older than {m}. In {b} years the sum of their ages will be {2 * a + k + 2 * b}. "
                   f"How old is {m} now?"), a
    speed, hours = rng.randint(4, 11) * 10, rng.randint(2, 6)
    yield "speed", (f"A train travels for {hours} hours at {speed} km/h, rests for half an hour, and then travels {a} km in one hour. "
                    f"How many kilometres did it travel?"), speed * hours + a
    yield "work", (f"{n} packs {k} parcels an hour and {m} packs {k + 3}. They work {hours} hours together, and then {n} works another "
                   f"{d} hours alone. How many parcels are packed?"), (2 * k + 3) * hours + k * d
    yield "shares", (f"{12 * a} {item} are shared so that {n} gets a third, {m} gets a quarter, and the rest goes to a school, which keeps "
                     f"half of its part and returns the other half. How many {item} are returned?"), 12 * a * 5 // 12 // 2
    yield "garden", (f"A rectangular garden is {a} metres long and {b} metres wide. A path of one metre runs around it on the outside. "
                     f"What is the area of the path in square metres?"), (a + 2) * (b + 2) - a * b
    yield "savings", (f"{n} saves {price} dollars in the first week and in each later week {k} dollars more than in the week before. "
                      f"How many dollars has {n} saved after {hours} weeks?"), sum(price + k * i for i in range(hours))
    yield "factory", (f"A factory has {k} machines. Each makes {a} {item} an hour. After {hours} hours, {off} % of all the {item} made so far "
                      f"are found faulty and thrown away, and then two machines stop. How many good {item} are there after another two hours, "
                      f"if none of the later ones is faulty?"), k * a * hours * (100 - off) / 100 + 2 * (k - 2) * a
    heads, legs = a + b, 2 * a + 4 * b
    yield "farm", f"On a farm there are hens and rabbits, {heads} heads and {legs} legs in all. How many rabbits are there?", b
    yield "distractor", (f"{n} read {a} pages on Monday and {b} pages on Tuesday. {m} read {c} pages. The book has {a + b + d} pages and was "
                         f"printed in {1950 + a}. How many pages has {n} still to read?"), d
    yield "mixture", (f"How many litres of water must be added to {10 * k} litres of a {2 * off} % salt solution so that it becomes a "
                      f"{off} % solution?"), 10 * k


def foreign_problems(rng):
    a, b, c = (rng.randint(4, 40) for _ in range(3))
    n = rng.choice(NAMES)
    k = rng.randint(3, 9)
    yield "de", f"{n} hat {a} Murmeln, verschenkt {min(a, b) - 1} davon und findet dann {c} neue. Wie viele Murmeln hat {n}? Antworte nur mit der Zahl.", a - min(a, b) + 1 + c, "de"
    yield "es", f"{n} compra {k} cuadernos a {a} euros cada uno y un libro de {b} euros. ¿Cuántos euros gasta en total? Responde solo con el número.", k * a + b, "es"
    yield "fr", f"{n} lit {a} pages par jour pendant {k} jours, puis {b} pages le dernier jour. Combien de pages a-t-il lues ? Réponds seulement par le nombre.", a * k + b, "fr"
    yield "zh", f"一箱有{k}瓶水,商店进了{a}箱,卖出{b}瓶。还剩多少瓶?只回答数字。", k * a - b, "zh"
    yield "ru", f"У {n} было {a + b} рублей. Купили {k} ручек по {max(1, a // k)} рублей. Сколько рублей осталось? Ответь только числом.", a + b - k * max(1, a // k), "ru"
    yield "it", f"In un autobus ci sono {a} persone. Alla prima fermata ne scendono {min(a, b) // 2} e ne salgono {c}. Quante persone ci sono ora? Rispondi solo con il numero.", a - min(a, b) // 2 + c, "it"


def short_sums(rng):
    a, b, c = rng.randint(12, 99), rng.randint(12, 99), rng.randint(2, 9)
    yield "add", f"What is {a * 7} + {b * 13}?{BRIEF}", a * 7 + b * 13
    yield "multiply", f"Compute {a} * {b}.{BRIEF}", a * b
    yield "expression", f"Evaluate ({a} + {b}) * {c} - {a * 2}.{BRIEF}", (a + b) * c - a * 2
    yield "percent", f"What is {c * 5} % of {b * 20}?{BRIEF}", c * b
    yield "modulo", f"What is the remainder when {a * b} is divided by {c + 5}?{BRIEF}", a * b % (c + 5)
    yield "average", f"What is the average of {a}, {a + 2 * c}, {a + 3 * c} and {a + 3 * c}?{BRIEF}", a + 2 * c
    yield "minutes", f"How many minutes are {c} hours and {a} minutes?{BRIEF}", c * 60 + a
    yield "largest", f"Which is the largest of these numbers: {', '.join(map(str, rng.sample(range(100, 999), 6)))}?{BRIEF}", None
    yield "roman", f"Write the Roman numeral {roman(a * 19)} as an ordinary number.{BRIEF}", a * 19
    yield "convert", f"How many grams are {a / 4} kilograms?{BRIEF}", a * 250


def roman(value):
    pairs = [(1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"), (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I")]
    text = ""
    for size, letters in pairs:
        text += letters * (value // size)
        value %= size
    return text


def words(rng):
    """(template, question, accepted answers), checked as text."""
    pool = ["garden", "planet", "winter", "silver", "market", "pencil", "rocket", "bridge", "castle", "window", "orange", "button", "island",
            "forest", "camera", "dragon", "engine", "basket", "hammer", "velvet"]
    some = rng.sample(pool, 6)
    day = datetime.date(rng.randint(1990, 2030), rng.randint(1, 12), rng.randint(1, 28))
    days = rng.randint(3, 80)
    later = day + datetime.timedelta(days)
    yield "reverse", f"Spell the word \"{some[0]}\" backwards. Answer with the result only.", [some[0][::-1]]
    yield "sort", f"Sort these words alphabetically, separated by single spaces: {' '.join(some)}. Answer with the words only.", [" ".join(sorted(some))]
    yield "third", f"What is the third letter of the word \"{some[1]}\"? Answer with the letter only.", [some[1][2]]
    yield "count", f"Which of these words has the letter e most often: {', '.join(some[:4])}, nevertheless? Answer with the word only.", ["nevertheless"]
    yield "weekday", f"{day.isoformat()} is a {calendar.day_name[day.weekday()]}. Which day of the week is {later.isoformat()}? Answer with the day only.", [calendar.day_name[later.weekday()]]
    yield "date", f"What is the date {days} days after {day.isoformat()}? Answer in the form YYYY-MM-DD only.", [later.isoformat()]
    order = rng.sample(NAMES, 4)
    yield "order", (f"{order[1]} is taller than {order[2]}. {order[0]} is taller than {order[1]}. {order[3]} is shorter than {order[2]}. "
                    f"Who is the {rng.choice(['tallest'])}? Answer with the name only."), [order[0]]
    yield "second", (f"In a race {order[2]} finished directly behind {order[0]}. {order[1]} finished before {order[0]}. {order[3]} finished last. "
                     f"Who finished second? Answer with the name only."), [order[0]]
    left = rng.sample(["red", "green", "blue", "white"], 4)
    yield "boxes", (f"Four boxes stand in a row. The {left[1]} box is directly right of the {left[0]} box. The {left[3]} box is at the right end. "
                    f"The {left[2]} box is not at the left end. Which box is at the left end? Answer with the colour only."), [left[0]]
    yield "acronym", f"Write the first letters of these words as one word: {' '.join(some)}. Answer with the letters only.", ["".join(word[0] for word in some)]
    yield "vowels", f"Remove every vowel (a, e, i, o, u) from \"{some[2]} {some[3]}\". Answer with the result only.", [re.sub("[aeiou]", "", f"{some[2]} {some[3]}")]


def passages(rng):
    """Questions about given material."""
    people, cities = rng.sample(NAMES, 3), rng.sample(["Lisbon", "Oslo", "Quito", "Hanoi", "Perth", "Turin"], 3)
    jobs, years = rng.sample(["baker", "pilot", "nurse", "welder", "teacher", "florist"], 3), rng.sample(range(1985, 2020), 3)
    text = " ".join(f"{p} moved to {c} in {y} and works there as a {j}." for p, c, y, j in zip(people, cities, years, jobs))
    i = rng.randrange(3)
    yield "city", f"{text}\n\nIn which city does the {jobs[i]} live? Answer with the city only.", [cities[i]]
    yield "job", f"{text}\n\nWhat is {people[i]}'s profession? Answer with one word.", [jobs[i]]
    yield "earliest", f"{text}\n\nWho moved first? Answer with the name only.", [people[years.index(min(years))]]
    mood, sentence = rng.choice([("positive", "The staff went out of their way to help and the room was lovely."), ("negative", "The screen broke after two days and nobody answered my calls."),
                                 ("negative", "I waited an hour for cold soup."), ("positive", "Best purchase I have made this year, works like a charm."),
                                 ("positive", "I expected little and was delighted."), ("negative", "It does what it says, if you enjoy restarting it every morning.")])
    yield "sentiment", f"Is this review positive or negative? Answer with one word.\n\n{people[0]} wrote: {sentence}", [mood]
    total = [rng.randint(5, 90) for _ in range(3)]
    table = "item,price\n" + "\n".join(f"{item},{price}" for item, price in zip(rng.sample(ITEMS, 3), total))
    yield "csv", f"{table}\n\nWhat is the sum of all prices? Answer with the number only.", [str(sum(total))]


def generated(rng):
    seen = set()
    for _ in range(PER_TEMPLATE):
        for family, make in (("word-problem", word_problems), ("foreign", foreign_problems), ("sum", short_sums), ("words", words), ("passage", passages)):
            for name, question, answer, *language in make(rng):
                if question in seen or (make in (words, passages) and rng.random() < 0.45) or (family == "foreign" and rng.random() < 0.3):
                    continue
                seen.add(question)
                row = {"category": family, "group": f"{family}:{name}", "language": language[0] if language else "en", "prompt": question, "source": "own_checkable"}
                if name == "largest":
                    answer = max(int(number) for number in re.findall(r"\d+", question))
                if isinstance(answer, list):
                    yield row | {"kind": "exact", "answer": answer, "max_tokens": 48}
                else:
                    short = "only" in question or family == "foreign"
                    yield row | {"kind": "number", "answer": answer, "max_tokens": 24 if short else 320}


def run(code):
    """What a program prints, or None when it fails or takes long."""
    try:
        done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=5)
    except subprocess.TimeoutExpired:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def traced(row):
    """Code to trace: the answer is what it returns. Asked for a plain literal, which is compared as text without spaces."""
    match = re.search(r"\[PYTHON\]\n(.*)\nassert (f\(.*\)) == \?\?", row["prompt"], re.S)
    value = match and run(f"{match[1]}\nprint(repr({match[2]}))")
    if value is None or len(value) > 60:
        return None
    try:
        ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return None
    question = f"```python\n{match[1]}\n```\nWhat does `{match[2]}` return? Answer with the Python literal only."
    return {"kind": "exact", "category": "trace", "prompt": question, "answer": [value], "max_tokens": 48}


def compared(row):
    numbers = [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", row["prompt"])]
    small, large = (re.search(words, row["prompt"], re.I) for words in (r"small|less|low|minor|least", r"big|great|large|high|max|more"))
    if len(set(numbers)) != 2 or bool(small) == bool(large):
        return None
    return {"kind": "number", "category": "compare", "prompt": row["prompt"] + BRIEF, "answer": min(numbers) if small else max(numbers), "max_tokens": 24}


def programmed(row):
    """A function with one assertion that it must satisfy."""
    match = re.match(r'"""\n(.*?)\n(assert .*)\n"""', row["prompt"], re.S)
    if not match:
        return None
    name = re.search(r"assert \(?(\w+)", match[2])
    if not name:
        return None
    question = f"{match[1]} Call it `{name[1]}`, for example: `{match[2]}`. Answer with a Python code block only."
    return {"kind": "code", "category": "code", "prompt": question, "tests": match[2], "max_tokens": 320}


def from_data(folder, rng):
    with gzip.open(pathlib.Path(folder) / "train_labeled.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    for source, make, most in (("zeroeval_crux", traced, CRUX), ("zeroeval_numersense-v2", compared, NUMERSENSE), ("routerdc_mbpp", programmed, MBPP)):
        found = [row for row in rows if row["source"] == source]
        rng.shuffle(found)
        made = 0
        for row in found:
            question = make(row) if made < most else None
            if question:
                made += 1
                yield question | {"group": row["prompt_hash"], "language": "en", "source": f"checked_{source}"}


def open_prompts(folder, most, rng):
    """Prompts of every kind, for the length of their answers: any answer counts as right."""
    with gzip.open(pathlib.Path(folder) / "train_typed.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    pools = [[(f"typed_{source}", row["prompt_hash"], row["prompt"]) for row in rows if row["source"] == source and len(row["prompt"]) < 1500]
             for source in ("arena_hard_v0.1", "arena_hard_v2.0", "self_instruct_seed", "p3_typed")]
    for kind in ("routine", "hard"):
        pools.append([("own_open", f"{kind}:{task}", text) for which, task, text in own_prompts.generate() if which == kind])
    for pool in pools:
        for source, group, prompt in rng.sample(pool, most // len(pools)):
            yield {"source": source, "group": group, "kind": "rules", "category": "open", "language": "und", "prompt": prompt,
                   "rules": {"words_min": 1}, "max_tokens": 400}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data", required=True, help="folder with train_labeled.jsonl.gz")
    arguments.add_argument("--out", required=True)
    arguments.add_argument("--open", type=int, default=0, metavar="N")
    arguments = arguments.parse_args()
    rng = random.Random(SEED)
    rows = list(generated(rng)) + list(from_data(arguments.data, rng))
    rng.shuffle(rows)
    rows += open_prompts(arguments.data, arguments.open, rng)
    with open(arguments.out, "w", encoding="utf-8") as out:
        for index, row in enumerate(rows):
            source, group = row.pop("source"), row.pop("group")
            out.write(json.dumps({"id": f"{source}/{group}/{index}"} | row, ensure_ascii=False) + "\n")
    print(f"{len(rows)} questions")


if __name__ == "__main__":
    main()
