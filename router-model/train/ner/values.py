"""Makes the values that fill the slots of one text: people, places, organisations, dates and numbers.

Every value comes from the text's own random numbers or from a seeded Faker, so the same seed gives the same text.
"""

import re

from faker.providers.address.it_IT import Provider as ItalianAddress

import lexicon
from people import LOCALES, Person

PERSON_SLOT = re.compile(r"[pqrmf]\d?$")
# Faker keeps these in a set, whose order changes from run to run.
ITALIAN_CITIES = sorted(ItalianAddress.cities)


class Values:
    """Makes the values of one text, in one language."""

    def __init__(self, rng, fakers, lang):
        self.rng, self.fakers, self.lang = rng, fakers, lang
        self.locale = rng.choice(LOCALES[lang])
        self.fake = fakers[self.locale]
        self.kept = {}

    def get(self, name, steps):
        """The text of a slot and its type (None where it is not marked)."""
        if PERSON_SLOT.match(name):
            return self.person(name).form(steps)
        if not name[-1].isdigit():
            return self.make(name, steps)
        key = (name, tuple(steps))
        if key not in self.kept:
            self.kept[key] = self.make(name[:-1], steps)
        return self.kept[key]

    def person(self, name):
        if name not in self.kept:
            gender = name[0] if name[0] in "mf" else None
            self.kept[name] = Person(self.rng, self.fakers, self.lang, gender)
        return self.kept[name]

    def make(self, name, steps):
        method, kind = VALUES[name]
        text = method(self, *steps)
        for step in steps:
            text = {"up": str.upper, "low": str.lower}.get(step, str)(text)
        return text, kind

    def pick(self, table):
        return self.rng.choice(lexicon.words(table, self.lang))

    def city(self, *_):
        if self.rng.random() < 0.3 and self.lang not in ("ja", "zh", "tr"):
            if self.lang == "it":
                return self.rng.choice(ITALIAN_CITIES)
            return re.sub(r"^\w+\.? (?=[А-ЯІЇЄ])", "", self.fake.city())
        return self.pick(lexicon.CITIES)

    def country(self, *_):
        return re.sub(r"^the ", "", self.pick(lexicon.COUNTRIES))

    def organisation(self, kind):
        if kind == "org" and self.rng.random() < 0.5 and self.lang not in ("ja", "zh"):
            company = self.fake.company()
            if " " in company:
                return company
        table = lexicon.ORGS.get(self.lang)
        choice = self.rng.choice((table[kind] if table else lexicon.SMALL_ORGS[self.lang]).split("|"))
        last = Person(self.rng, self.fakers, self.lang, "m").last if "{l}" in choice else ""
        return choice.replace("{c}", self.pick(lexicon.CITIES)).replace("{l}", last).replace("{n}", str(self.rng.randint(1, 90)))

    def street(self, *_):
        n = self.rng.randint(1, 180)
        if self.lang == "ja":
            return f"{self.pick(lexicon.STREETS)}{self.rng.randint(1, 9)}-{self.rng.randint(1, 30)}-{self.rng.randint(1, 20)}"
        if self.lang == "zh":
            return f"{self.pick(lexicon.STREETS)}{n}号"
        if self.lang == "tr":
            return f"{self.pick(lexicon.STREETS)} No: {n}" + (f" D: {n % 12 + 1}" if n % 3 else "")
        if self.lang == "fr" and self.rng.random() < 0.7:
            return f"{self.rng.choice([str(n), f'{n} bis', f'{n},'])} {self.fake.street_name()}"
        return " ".join(self.fake.street_address().replace("\n", ", ").replace(",,", ",").split()).strip(" ,")

    def postcode(self, *_):
        return self.fake.postcode()

    def town_line(self):
        city, code = self.city(), self.fake.postcode()
        if self.locale == "en_US":
            return f"{city}, {self.fake.state_abbr()} {code}"
        if self.locale == "pt_BR":
            return f"{city} - {self.fake.estado_sigla()}, {code}"
        if self.lang == "en":
            return f"{city} {code}" if self.rng.random() < 0.6 else f"{city}, {code}"
        return f"{code} {city}"

    def address(self, *steps):
        street, line = self.street(), self.town_line()
        if self.lang == "ja":
            return f"〒{self.fake.postcode()} {self.pick(lexicon.CITIES)}{self.rng.choice(['中央区', '北区', '西区'])}{street}"
        if self.lang == "zh":
            return f"{self.pick(lexicon.CITIES)}{self.rng.choice(['朝阳区', '新城区', '东区'])}{street}"
        if self.lang in ("ru", "uk"):
            return f"{self.postcode()}, {'г.' if self.lang == 'ru' else 'м.'} {self.pick(lexicon.CITIES)}, {street}"
        if "ml" in steps:
            return f"{street}\n{line}"
        roll = self.rng.random()
        return street if roll < 0.15 else f"{street}, {self.city()}" if roll < 0.3 else f"{street}, {line}"

    def date(self, *steps, years=(2008, 2027)):
        day, month, year = self.rng.randint(1, 28), self.rng.randint(1, 12), self.rng.randrange(*years)
        if "iso" in steps:
            return f"{year}-{month:02}-{day:02}"
        names = lexicon.MONTHS[self.lang].split("|") if self.lang in lexicon.MONTHS else [""] * 12
        name = names[month - 1]
        shape = self.rng.choice(lexicon.DATE_FORMS[self.lang].split("|"))
        if years[1] < 2020:  # a birth date always has its year
            shape = shape if "y" in shape else "dd.mm.y"
        suffix = {1: "st", 2: "nd", 3: "rd", 21: "st", 22: "nd", 23: "rd"}.get(day, "th")
        fill = {"dth": f"{day}{suffix}", "dd": f"{day:02}", "mm": f"{month:02}", "M3": name[:3], "yy": f"{year % 100:02}", "d": str(day),
                "m": str(month), "M": name, "y": str(year)}
        if shape == "yymmdd":
            return f"{year % 100:02}{month:02}{day:02}"
        # Words like "de" and "den" belong to the form: a letter is filled in only where it stands alone.
        return re.sub(r"dth|dd|mm|M3|yy|M|(?<![a-z])[dmy](?![a-z])", lambda x: fill[x[0]], shape)

    def birth(self, *steps):
        return self.date(*steps, years=(1931, 2019))

    def month_year(self, *_):
        if self.lang in ("ja", "zh"):
            return f"{self.rng.randint(2012, 2026)}年{self.rng.randint(1, 12)}月"
        # Slavic month names are listed in the genitive, which does not stand without a day.
        if self.lang in ("pl", "ru", "cs", "uk", "fi", "el"):
            return f"{self.rng.randint(1, 12):02}/{self.rng.randint(2012, 2026)}"
        link = " de " if self.lang in ("es", "pt") else " "
        return f"{self.rng.choice(lexicon.MONTHS[self.lang].split('|'))}{link}{self.rng.randint(2012, 2026)}"

    def age(self, *steps):
        years = self.rng.randint(3, 17) if "child" in steps else self.rng.randint(18, 96)
        return f"{years} años" if self.lang == "es" and "num" not in steps else str(years)

    def phone(self, *_):
        return self.fake.phone_number()

    def medical_id(self, *_):
        r, d = self.rng, lambda n: "".join(self.rng.choice("0123456789") for _ in range(n))
        return r.choice([d(7), d(8), f"MRN-{d(6)}", f"{d(3)} {d(3)} {d(4)}", f"{r.choice('ABCDEHKMPTXZ')}{d(9)}", f"{d(2)}-{d(4)}-{d(2)}", f"P{d(6)}",
                         f"{r.choice(['NK', 'HC', 'PAT', 'H'])}{d(7)}", f"{d(4)}/{d(4)}", f"PT-{d(5)}"])

    def job(self, *_):
        return self.rng.choice(lexicon.words(lexicon.JOBS, self.lang)[::2])

    def job_female(self, *_):
        return self.rng.choice(lexicon.words(lexicon.JOBS, self.lang)[1::2])

    def number(self, *_):
        return str(self.rng.choice([self.rng.randint(2, 20), self.rng.randint(20, 400), self.rng.randint(1000, 99999)]))

    def small(self, *_):
        return str(self.rng.randint(2, 12))

    def money(self, *_):
        n = self.rng.randint(15, 98000)
        return self.rng.choice([str(n), f"{n:,}" if self.lang in ("en", "zh", "ja") else f"{n:,}".replace(",", "."), f"{n}.{self.rng.randint(10, 99)}"])

    def reference(self, *_):
        r = self.rng
        return r.choice([f"#{r.randint(1000, 999999)}", f"INC-{r.randint(100, 99999)}", f"{r.randint(10, 99)}/{r.randint(1000, 9999)}", f"A-{r.randint(100, 9999)}-{r.randint(10, 99)}"])

    def clock(self, *_):
        return f"{self.rng.randint(6, 21)}:{self.rng.choice(['00', '05', '15', '20', '30', '40', '45', '50'])}"


def organisation_of(kind):
    return lambda values, *_: values.organisation(kind)


def somebody(step):
    return lambda values, *_: Person(values.rng, values.fakers, values.lang).form([step])[0]


VALUES = {
    "city": (Values.city, "LOCATION"), "country": (Values.country, "LOCATION"), "addr": (Values.address, "ADDRESS"), "street": (Values.street, "ADDRESS"),
    "zip": (Values.postcode, "ADDRESS"), "date": (Values.date, "DATE"), "my": (Values.month_year, "DATE"), "dob": (Values.birth, "DATE_OF_BIRTH"),
    "age": (Values.age, "AGE"), "phone": (Values.phone, "PHONE"), "mrn": (Values.medical_id, "MEDICAL_ID"), "job": (Values.job, "PROFESSION"),
    "jobf": (Values.job_female, "PROFESSION"), "num": (Values.number, None), "small": (Values.small, None), "money": (Values.money, None),
    "ref": (Values.reference, None), "time": (Values.clock, None), "email": (somebody("email"), "EMAIL"), "user": (somebody("user"), "USERNAME"),
    "handle": (somebody("handle"), "USERNAME"), "dis": (lambda v, *_: v.pick(lexicon.DISEASES), None), "drug": (lambda v, *_: v.rng.choice(lexicon.DRUGS), None),
    **{kind: (organisation_of(kind), "ORG") for kind in ("org", "hosp", "bank", "uni", "school", "court", "ins", "gov")},
}
