"""Labelled text for the token-classification model, written for this project (CC0).

Public labelled text hardly shows what passes a gateway: prompts, tickets, notes, rows, log lines, in many languages.
`templates/*.txt` hold hand-written texts with slots; this module fills the slots with made-up values and keeps the
place of each. Whole templates belong to one part, so that the dev part measures unseen wording.

Templates are separated by lines `=== shape`. A slot is one of
    {p} {q} {r} {m} {f}     a person (m male, f female), the same one through the text; forms after a dot: full first last
                            rev init patr email user handle, cases gen dat acc ins loc, up low asc, `+xx` appends an ending
    {m2} {city1}            a trailing digit gives another one, and keeps the value through the text
    {p?his|her}             words that depend on the person's gender; {p?F:son|daughter} marked as well
    {F:mother|father}       one of these literal words, marked with the letter's type; {-:a|b} unmarked
    {city} {org} {dob} ...  a value from `VALUES`
Conventions, where the sources differ: PERSON has no title and no possessive ending, but the whole inflected word.
ADDRESS is street and number, with postcode and city where they stand together (as the project's own prompts; MEDDOCAN
splits them), and a postcode that stands alone. AGE is the number, with its unit in Spanish (MEDDOCAN). A date of birth
is DATE_OF_BIRTH; weekdays and months count as DATE only where they date something. USERNAME holds the @. LOCATION leaves
out the article of "the Netherlands". PROFESSION, FAMILY, GENDER and NRP are marked where they describe somebody;
a language is not NRP. Diseases, drugs, dishes and product names are
never marked, nor is a trade that stands as a title before the name ("Lekarz", "Rechtsanwalt").
"""

import argparse
import collections
import gzip
import json
import pathlib
import random
import re
import sys
import time

import lexicon
from people import LOCALES, Fakers, strip_marks
from values import PERSON_SLOT, VALUES, Values

TYPES = ["PERSON", "ORG", "LOCATION", "ADDRESS", "DATE", "DATE_OF_BIRTH", "AGE", "GENDER", "NRP", "PROFESSION", "FAMILY", "USERNAME", "EMAIL",
         "PHONE", "MEDICAL_ID"]
LETTERS = {"P": "PERSON", "O": "ORG", "L": "LOCATION", "A": "ADDRESS", "D": "DATE", "B": "DATE_OF_BIRTH", "Y": "AGE", "G": "GENDER", "N": "NRP",
           "J": "PROFESSION", "F": "FAMILY", "U": "USERNAME", "E": "EMAIL", "T": "PHONE", "M": "MEDICAL_ID", "-": None}
SLOT = re.compile(r"\{(?:([a-z][a-z]*\d?)((?:\.[a-z]+|\.\+\w+)*)|([a-z]\d?)\?(?:([A-Z]):)?([^|{}]*)\|([^{}]*)|([A-Z-]):([^{}]+))\}")
MAIN = ["de", "es", "fr", "it", "nl", "pl", "pt", "sv", "ru"]
# Shares of the languages; what is left goes to the languages with few templates, evenly.
SHARES = {"en": 0.28, "any": 0.10, **{lang: 0.052 for lang in MAIN}}
DEV_EVERY, DEV_AT = 8, {5}
# Negatives stand together at the end of a file, so few would fall to dev: they get a second place.
DEV_AT_NEGATIVE = {1, 5}
TEMPLATES = pathlib.Path(__file__).parent / "templates"
Template = collections.namedtuple("Template", "id lang shape text dev")


def load_templates():
    """All templates; the dev part is every eighth of a file, so a file is only ever appended to."""
    found = []
    for path in sorted(TEMPLATES.glob("*.txt")):
        blocks = re.split(r"^=== (\w+)\n", path.read_text(encoding="utf-8"), flags=re.M)
        for n, (shape, text) in enumerate(zip(blocks[1::2], blocks[2::2])):
            name = f"synthetic_names:{path.stem}:{n}"
            places = DEV_AT_NEGATIVE if shape.startswith("neg") else DEV_AT
            found.append(Template(name, path.stem, shape, text.strip("\n"), n % DEV_EVERY in places))
    return found


def render(template, values):
    """The template as pieces (text, type), in order."""
    pieces, at = [], 0
    for match in SLOT.finditer(template.text):
        name, steps, who, kind, male, female, letter, literal = match.groups()
        pieces.append((template.text[at:match.start()], None))
        at = match.end()
        if name:
            pieces.append(values.get(name, [s for s in steps.split(".") if s]))
        elif who:
            chosen = male if values.person(who).male else female
            pieces.append((values.rng.choice(chosen.split("/")), LETTERS[kind] if kind else None))
        else:
            pieces.append((values.rng.choice(literal.split("|")), LETTERS[letter]))
    pieces.append((template.text[at:], None))
    return pieces


KEEP_CASE = {"json", "code", "xml", "yaml", "sql", "csv", "log", "neg_code"}
CHATTY = {"chat", "tweet", "prompt", "sms", "query", "neg"}


def disturbed(rng, template, pieces):
    """Writes the text as people do at times: without capitals, in capitals only, or without diacritics."""
    roll = rng.random()
    if template.shape not in KEEP_CASE:
        lower = 0.22 if template.shape in CHATTY else 0.05
        if roll < lower:
            pieces = [(text.lower(), kind) for text, kind in pieces]
        elif roll < lower + 0.025:
            pieces = [(text.upper(), kind) for text, kind in pieces]
        elif roll < lower + 0.045:  # only the names
            change = rng.choice([str.lower, str.upper])
            pieces = [(change(text) if kind == "PERSON" else text, kind) for text, kind in pieces]
    if rng.random() < 0.06:
        pieces = [(strip_marks(text), kind) for text, kind in pieces]
    return pieces


def wrapped(rng, template, lang, pieces):
    """Puts an instruction before or after the text, as in a prompt that carries a document."""
    if template.shape in ("prompt", "neg") or rng.random() > 0.2:
        return pieces
    wish = rng.choice(lexicon.words(lexicon.WRAPS, lang if rng.random() < 0.8 else "en"))
    return [(wish + "\n\n", None)] + pieces if rng.random() < 0.7 else pieces + [("\n\n" + wish, None)]


def assembled(pieces):
    """Text and spans. A given name and a surname with one space between them are one name."""
    text, spans = "", []
    for piece, kind in pieces:
        left = len(piece) - len(piece.lstrip())
        right = len(piece.rstrip())
        last = spans[-1] if spans else None
        if kind == "PERSON" and last and last["type"] == kind and last["end"] == len(text) - 1 and text[-1] == " ":
            last["end"] = len(text) + right
        elif kind and right > left:
            spans.append({"start": len(text) + left, "end": len(text) + right, "type": kind})
        text += piece
    return text, spans


class Generator:
    """Draws records; the same seed gives the same records."""

    def __init__(self, seed, part):
        self.rng = random.Random(f"{seed}:{part}")
        self.fakers = Fakers(f"{seed}:{part}")
        self.part = part
        self.by_lang = collections.defaultdict(list)
        for template in load_templates():
            if template.dev == (part == "dev"):
                self.by_lang[template.lang].append(template)
        small = [lang for lang in self.by_lang if lang not in SHARES]
        rest = (1 - sum(SHARES[lang] for lang in self.by_lang if lang in SHARES)) / max(1, len(small))
        self.langs = list(self.by_lang)
        self.weights = [SHARES.get(lang, rest) for lang in self.langs]

    def pieces(self, template, lang):
        values = Values(self.rng, self.fakers, lang)
        return disturbed(self.rng, template, wrapped(self.rng, template, lang, render(template, values)))

    def draw(self, lang):
        """A template of the language. One without slots says the same each time, so it comes up seldom."""
        while True:
            template = self.rng.choice(self.by_lang[lang])
            if SLOT.search(template.text) or self.rng.random() < 0.3:
                return template

    def record(self, number):
        lang = self.rng.choices(self.langs, self.weights)[0]
        template = self.draw(lang)
        if lang == "any":
            lang = self.rng.choices(list(LOCALES), [6 if x == "en" else 2 if x in MAIN else 1 for x in LOCALES])[0]
        pieces = self.pieces(template, lang)
        names = template.id
        more = self.rng.random()
        for _ in range(self.rng.randint(3, 6) if more < 0.04 else more < 0.12):
            if lang not in self.by_lang:
                break
            other = self.draw(lang)
            pieces = pieces + [(self.rng.choice(["\n\n", "\n---\n", "\n"]), None)] + self.pieces(other, lang)
            names += "+" + other.id.split(":", 1)[1]
        text, spans = assembled(pieces)
        return {"id": f"sn-{self.part}-{number:06}", "source": "synthetic_names", "licence": "CC0-1.0", "lang": lang, "text": text, "spans": spans,
                "annotated": TYPES, "template": names, "shape": template.shape}


def check_templates(templates):
    """Every brace that looks like a slot is one, and every slot has a value; faults stop the run with their place."""
    for template in templates:
        rest = SLOT.sub("", template.text)
        bad = re.search(r"\{[a-zA-Z-][\w.?:]*[^{}\"']{0,30}\}", rest)
        if bad and template.shape not in KEEP_CASE:
            sys.exit(f"{template.id}: {bad[0]!r} is not a slot")
        for match in SLOT.finditer(template.text):
            name, letter = match[1], match[7]
            if name and not PERSON_SLOT.match(name) and name.rstrip("0123456789") not in VALUES:
                sys.exit(f"{template.id}: no value is called {name!r}")
            if letter and letter not in LETTERS:
                sys.exit(f"{template.id}: no type has the letter {letter!r}")


def check_slots(templates):
    """Fills every template once and stops the run where a slot of a marked kind left no span."""
    rng, fakers = random.Random(0), Fakers(0)
    for template in templates:
        lang = "en" if template.lang == "any" else template.lang
        pieces = render(template, Values(rng, fakers, lang))
        _, spans = assembled(pieces)
        wanted = sum(len(text.strip()) for text, kind in pieces if kind)
        joints = sum(kind is not None for _, kind in pieces) - len(spans)  # a space for each joined name
        if any(kind and not text.strip() for text, kind in pieces) or sum(s["end"] - s["start"] for s in spans) != wanted + joints:
            sys.exit(f"{template.id}: a slot is not marked")


def check_record(record):
    end = 0
    for span in record["spans"]:
        piece = record["text"][span["start"]:span["end"]]
        if span["start"] < end or not piece or piece != piece.strip() or span["type"] not in TYPES:
            sys.exit(f"{record['id']} ({record['template']}): bad span {span} {piece!r}")
        end = span["end"]
    left = SLOT.search(record["text"])
    if left and record["shape"] not in KEEP_CASE:
        sys.exit(f"{record['id']} ({record['template']}): slot left {left[0]!r}")


def report(records):
    templates = load_templates()
    print("templates", len(templates), dict(collections.Counter(t.lang for t in templates)))
    print("records", len(records), dict(collections.Counter(r["lang"] for r in records).most_common()))
    print("without a span", sum(not r["spans"] for r in records), "mean length", sum(len(r["text"]) for r in records) // len(records))
    print("spans", dict(collections.Counter(s["type"] for r in records for s in r["spans"]).most_common()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--part", choices=["train", "dev"], default="train")
    parser.add_argument("--out", type=pathlib.Path, help="JSONL, or gzip where the name ends in .gz")
    parser.add_argument("--check", action="store_true", help="verify every record and print counts")
    args = parser.parse_args()
    check_templates(load_templates())
    began = time.monotonic()
    generator = Generator(args.seed, args.part)
    records = [generator.record(n) for n in range(args.count)]
    if args.check:
        check_slots(load_templates())
        for record in records:
            check_record(record)
        report(records)
        print(f"{time.monotonic() - began:.1f} s")
    if args.out:
        lines = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records)
        partial = args.out.with_name(args.out.name + ".part")
        if args.out.suffix == ".gz":
            with gzip.GzipFile(partial, "wb", mtime=0) as file:
                file.write(lines.encode())
        else:
            partial.write_text(lines, encoding="utf-8")
        partial.rename(args.out)


if __name__ == "__main__":
    main()
