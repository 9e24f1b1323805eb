"""Made-up people for the synthetic text: one person, many ways to write the name.

A person keeps one identity through a text, so that a later short form belongs to the same name. Given names and
surnames come from Faker, or from the short lists below where Faker has no Latin spelling. Titles are never part of a
name here: templates write them in front of the slot.
"""

import unicodedata

from faker import Faker

import inflect

LOCALES = {
    "en": ["en_US", "en_US", "en_GB", "en_GB", "en_AU", "en_CA", "en_IE", "en_NZ"], "de": ["de_DE", "de_DE", "de_AT", "de_CH"],
    "es": ["es_ES", "es_ES", "es_MX", "es_AR", "es_CO", "es_CL"], "fr": ["fr_FR", "fr_FR", "fr_CA", "fr_CH", "fr_BE"],
    "it": ["it_IT"], "nl": ["nl_NL", "nl_NL", "nl_BE"], "pl": ["pl_PL"], "pt": ["pt_PT", "pt_BR", "pt_BR"], "sv": ["sv_SE"],
    "ru": ["ru_RU"], "cs": ["cs_CZ"], "da": ["da_DK"], "fi": ["fi_FI"], "nb": ["no_NO"], "ro": ["ro_RO"], "hu": ["hu_HU"],
    "tr": ["tr_TR"], "el": ["el_GR"], "uk": ["uk_UA"], "ja": ["ja_JP"], "zh": ["zh_CN"],
}
# Where the people come from whose names are foreign to the language they are written about in.
ORIGINS = {
    "en": ["en_IN", "en_IN", "en_PK", "en_NG", "yo_NG", "ig_NG", "ha_NG", "en_KE", "zu_ZA", "tw_GH", "vi_VN", "id_ID", "es_MX", "pl_PL",
           "de_DE", "it_IT", "fr_FR", "tr_TR", "pt_BR", "+zh", "+zh", "+ar", "+ar", "+ko", "+ru", "ja_JP"],
    "de": ["tr_TR", "tr_TR", "pl_PL", "hr_HR", "it_IT", "en_GB", "vi_VN", "fr_FR", "+ar", "+ar", "+ru", "+zh"],
    "es": ["+ar", "ro_RO", "en_US", "+zh", "it_IT", "de_DE", "pt_BR"],
    "fr": ["+ar", "+ar", "+ar", "pt_PT", "vi_VN", "it_IT", "pl_PL", "yo_NG", "+zh", "en_GB"],
    "it": ["ro_RO", "sq_AL", "+ar", "+zh", "en_US", "fr_FR", "de_DE"], "nl": ["tr_TR", "+ar", "+ar", "pl_PL", "id_ID", "de_DE", "en_GB"],
    "pl": ["de_DE", "en_GB", "vi_VN", "cs_CZ", "+ru"], "pt": ["it_IT", "de_DE", "+zh", "yo_NG", "ja_JP", "en_US"],
    "sv": ["fi_FI", "+ar", "+ar", "tr_TR", "pl_PL", "en_GB", "hr_HR"], "cs": ["sk_SK", "vi_VN", "de_DE"], "da": ["+ar", "tr_TR", "de_DE"],
    "fi": ["sv_SE", "et_EE", "+ru"], "nb": ["+ar", "pl_PL", "sv_SE"], "ro": ["hu_HU", "de_DE"], "hu": ["ro_RO", "de_DE"],
    "tr": ["de_DE", "+ar"],
}
OTHER = {  # (male, female, surnames)
    "+zh": ("Wei Jun Haoran Xiaoming Zhiwei Ming Lei Bowen Yichen Jianguo", "Xiu Meiling Yan Jing Xinyi Lihua Yuting Fang Na Hui",
            "Wang Li Zhang Liu Chen Yang Zhao Huang Zhou Wu Xu Sun Ma Zhu Hu Guo Lin He Gao Ouyang"),
    "+ar": ("Mohamed Ahmed Youssef Omar Khalid Tariq Hassan Abdulrahman Karim Ibrahim Samir Bilal Nabil Rachid Walid Mustafa",
            "Fatima Aisha Layla Mariam Yasmin Nour Khadija Samira Rania Zainab Huda Amina Salma Soraya",
            "Al-Masri El-Sayed Haddad Benali Mansour Khoury Al-Hashimi Bouazizi Nasser Rahman Hussein El-Amrani Benkirane Darwish Saleh Abboud"),
    "+ko": ("Min-jun Seo-jun Ji-ho Dong-hyun Sung-min Jae-won Hyun-woo", "Ji-woo Seo-yeon Min-seo Hye-jin Soo-ah Eun-ji Yuna",
            "Kim Lee Park Choi Jung Kang Cho Yoon Jang Lim Han Shin"),
    "+ja": ("Haruto Yuto Sota Ren Kenji Takashi Hiroshi", "Yui Hana Sakura Aoi Emi Keiko Yoko", "Sato Suzuki Takahashi Tanaka Watanabe Ito Yamamoto"),
    "+ru": ("Ivan Dmitri Sergei Alexei Nikolai Mikhail Andriy Oleksandr Volodymyr", "Olga Natalia Svetlana Ekaterina Oksana Iryna Yulia",
            "Petrov Sokolov Kuznetsov Morozov Shevchenko Kovalenko Bondarenko Volkov Lebedev Melnyk"),
}
FOREIGN = 0.22
# Names that are common words too: (male, female, surnames).
WORDS = {
    "en": ("Will Mark Bill Frank Jack Chase Hunter Mason Dean Grant Rich Guy Art Drew Miles", "May April June Rose Grace Hope Faith Joy Summer Ivy Amber Dawn Crystal Iris",
           "Baker Banks Brown Cook Day Field Fox Green King Law Long March Marsh Page Park Price Rich Rivers Short Small Stone Street Wood Young"),
    "de": ("Wolf Frank Kai Ernst Mark Uli", "Rosa Viola Linde Heide Gloria", "Klein Groß Lang Kurz Koch Schneider Jäger Sommer Winter Freitag Engel König Herbst Vogel Stein Busch Sauer Reich Kaiser"),
    "es": ("Ángel Salvador Domingo León", "Paz Luz Mar Rosario Dolores Pilar Esperanza Rocío", "Cruz Blanco Rubio Delgado Bravo Calle Iglesias Torres Campos Ríos Redondo Sabio"),
    "fr": ("Pierre Clément Olivier Aimé", "Rose Marguerite Violette Prudence Aurore", "Petit Legrand Roux Blanc Boulanger Lemaire Marchand Berger Fontaine Dumont Leroy Tailleur"),
    "it": ("Leone Primo Felice Dino", "Rosa Viola Gioia Stella Serena Chiara", "Bianco Rossi Conti Leone Marino Russo Greco Villa Costa Sarto Gallo Piazza"),
    "nl": ("Wolf Roel Bas Mees", "Roos Bloem Madelief Fleur", "Bakker Visser Groot Koning Kok Jong Smit Vos Zwart Klein Boer Kuiper"),
    "pl": ("Gromosław Lew", "Róża Kalina Malina Jagoda", "Wilk Król Zając Wróbel Lis Mróz Kowal Gołąb Sikora Kozioł"),
    "pt": ("Leão Jesus Moisés", "Rosa Vitória Glória Luz Aurora", "Leite Pinto Cruz Pereira Carvalho Rocha Coelho Reis Campos Ferreira Barbosa"),
    "sv": ("Björn Sten Stig Ulf Frej", "Ros Viola Linnea Saga Stina", "Berg Ek Lind Ros Ström Frisk Falk Sten Åberg Rask Stark"),
    "ru": ("Роман Лев Марк", "Вера Надежда Любовь Роза", "Волк Мороз Заяц Мельник Коваль Гончар"),
}
WORD_NAMES = 0.07
ASCII = {"ł": "l", "Ł": "L", "ø": "o", "Ø": "O", "ß": "ss", "æ": "ae", "Æ": "Ae", "đ": "d", "Đ": "D", "ı": "i", "œ": "oe"}
LATIN = {"а": "a", "б": "b", "в": "v", "г": "g", "д": "d", "е": "e", "ё": "e", "ж": "zh", "з": "z", "и": "i", "й": "y", "к": "k", "л": "l",
         "м": "m", "н": "n", "о": "o", "п": "p", "р": "r", "с": "s", "т": "t", "у": "u", "ф": "f", "х": "kh", "ц": "ts", "ч": "ch",
         "ш": "sh", "щ": "sch", "ы": "y", "э": "e", "ю": "yu", "я": "ya", "і": "i", "ї": "yi", "є": "ye", "ґ": "g", "ь": "", "ъ": "",
         "α": "a", "β": "v", "γ": "g", "δ": "d", "ε": "e", "ζ": "z", "η": "i", "θ": "th", "ι": "i", "κ": "k", "λ": "l", "μ": "m", "ν": "n",
         "ξ": "x", "ο": "o", "π": "p", "ρ": "r", "σ": "s", "ς": "s", "τ": "t", "υ": "y", "φ": "f", "χ": "ch", "ψ": "ps", "ω": "o"}
DOMAINS = ["gmail.com", "outlook.com", "yahoo.com", "proton.me", "icloud.com", "hotmail.com", "example.com", "example.org", "gmx.net"]
NATIVE_DOMAINS = {"de": ["web.de", "gmx.de", "t-online.de"], "fr": ["orange.fr", "free.fr", "laposte.net"], "it": ["libero.it", "alice.it"],
                  "pl": ["wp.pl", "onet.pl", "o2.pl"], "ru": ["mail.ru", "yandex.ru"], "nl": ["ziggo.nl", "kpnmail.nl"], "es": ["telefonica.net"],
                  "pt": ["sapo.pt", "uol.com.br"], "sv": ["telia.com"], "cs": ["seznam.cz"], "hu": ["freemail.hu"], "da": ["mail.dk"]}


def strip_marks(text):
    """The text without diacritics, character by character; other scripts stay."""
    out = []
    for c in text:
        base = unicodedata.normalize("NFKD", c)
        out.append(ASCII.get(c) or (base[0] if base[0].isascii() else c))
    return "".join(out)


def strip_accents(text):
    """Greek and Cyrillic letters without accents, for transliteration; й and ї keep theirs."""
    return "".join(c if c in "йї" else unicodedata.normalize("NFD", c)[0] for c in text)


class Fakers:
    """One Faker for each locale, made on first use and seeded from one number."""

    def __init__(self, seed):
        self.seed, self.made = seed, {}

    def __getitem__(self, locale):
        if locale not in self.made:
            self.made[locale] = Faker(locale)
            self.made[locale].seed_instance(f"{self.seed}:{locale}")
        return self.made[locale]


class Person:
    """One made-up person in a text of one language."""

    def __init__(self, rng, fakers, lang, gender=None):
        self.rng, self.lang = rng, lang
        self.male = gender == "m" if gender else rng.random() < 0.5
        origins = ORIGINS.get(lang)
        self.foreign = bool(origins) and rng.random() < FOREIGN
        self.locale = rng.choice(origins if self.foreign else LOCALES[lang])
        self.first, self.last, self.middle = self._names(fakers)
        self._style = rng.random()
        self._number = rng.randrange(100)

    def _names(self, fakers):
        rng = self.rng
        if self.locale in OTHER:
            male, female, last = OTHER[self.locale]
            return rng.choice((male if self.male else female).split()), rng.choice(last.split()), rng.choice((male if self.male else female).split())
        if not self.foreign and self.lang in WORDS and rng.random() < WORD_NAMES:
            return self._word_names(fakers[self.locale])
        fake = fakers[self.locale]
        given = (fake.first_romanized_name_male if self.male else fake.first_romanized_name_female) if self._romanised() else \
            (fake.first_name_male if self.male else fake.first_name_female)
        family = fake.last_romanized_name if self._romanised() else (fake.last_name_male if self.male else fake.last_name_female)
        first, last = given(), family()
        middle = (fake.middle_name_male() if self.male else fake.middle_name_female()) if self.lang == "ru" else given()
        if self.lang in ("ja", "zh"):
            return first, last, ""
        roll = rng.random()
        if self.lang in ("es", "pt") and not self.foreign:
            return first, f"{last} {family()}" if roll < 0.45 and " " not in last else last, middle
        if roll < 0.06 and "-" not in last and " " not in last:
            last = f"{last}-{family()}"
        elif roll < 0.09 and "-" not in first and self.lang != "ru":
            first = f"{first}-{given()}"
        return first, last, middle

    def _word_names(self, fake):
        """A given name, a surname or both that are common words as well."""
        male, female, last = WORDS[self.lang]
        roll = self.rng.random()
        first = self.rng.choice((male if self.male else female).split())
        common = fake.first_name_male() if self.male else fake.first_name_female()
        surname = fake.last_name_male() if self.male else fake.last_name_female()
        middle = (fake.middle_name_male() if self.male else fake.middle_name_female()) if self.lang == "ru" else common
        return common if roll < 0.45 else first, surname if roll > 0.75 else self.rng.choice(last.split()), middle

    def _romanised(self):
        return self.locale == "ja_JP" and self.lang != "ja"

    def _joined(self, first, last):
        if self.lang in ("ja", "zh"):
            return last + (" " if self.lang == "ja" and self._style < 0.4 else "") + first
        return f"{last} {first}" if self.lang == "hu" and not self.foreign else f"{first} {last}"

    def _varied(self):
        """The full name as people write it: mostly plain, at times with a middle name or an initial."""
        s = self._style
        if self.lang in ("ja", "zh", "hu") or s < 0.72:
            return self._joined(self.first, self.last)
        if self.lang == "ru":
            return f"{self.last} {self.first} {self.middle}" if s < 0.85 else f"{self.first} {self.middle} {self.last}"
        if s < 0.84:
            return f"{self.first} {self.middle[0]}. {self.last}"
        return f"{self.first} {self.middle} {self.last}" if s < 0.92 else f"{self.first[0]}. {self.last}"

    def _case(self, part, case):
        def one(name, kind):
            return name if self.foreign else inflect.decline(self.lang, name, case, self.male, kind)
        if part == "first":
            return one(self.first, "first")
        if part == "last":
            return one(self.last, "last")
        if part == "patr":
            return f"{one(self.first, 'first')} {one(self.middle, 'middle')}"
        return f"{one(self.first, 'first')} {one(self.last, 'last')}"

    def _initials(self):
        if self.lang == "ru" and not self.foreign:
            return f"{self.last} {self.first[0]}.{self.middle[0]}." if self._style < 0.5 else f"{self.first[0]}.{self.middle[0]}. {self.last}"
        return f"{self.first[0]}. {self.last}"

    def form(self, steps):
        """The name in the form that the slot's steps ask for, and the type of the result."""
        part = next((s for s in steps if s in ("full", "first", "last", "rev", "init", "patr", "email", "user", "handle")), "")
        case = next((s for s in steps if s in inflect.CASES), None)
        kind = {"email": "EMAIL", "user": "USERNAME", "handle": "USERNAME"}.get(part, "PERSON")
        plain = {"first": self.first, "last": self.last, "init": self._initials(), "patr": f"{self.first} {self.middle}",
                 "full": self._varied(), "rev": f"{self.last}, {self.first}",
                 "email": self.email(), "user": self.user(), "handle": "@" + self.user()}
        text = self._case(part, case) if case else plain[part] if part else self._varied()
        for step in steps:
            text = text.upper() if step == "up" else text.lower() if step == "low" else strip_marks(text) if step == "asc" else text
            text += step[1:] if step.startswith("+") else ""
        return text, kind

    def _latin(self, name, surname):
        """The name in ASCII letters. Names in Chinese characters get a Latin name of the right origin instead."""
        if self.lang in ("ja", "zh"):
            return OTHER["+" + self.lang][2 if surname else 0].lower().split()[int(self._style * 7)]
        plain = "".join(LATIN.get(c, c) for c in unicodedata.normalize("NFKC", strip_accents(name.lower())))
        return "".join(c for c in strip_marks(plain) if c.isascii() and c.isalnum())

    def user(self):
        first, last = self._latin(self.first, False), self._latin(self.last, True)
        shapes = [f"{first}{last[:1]}{self._number}", f"{first[0]}{last}", f"{first}_{last}", f"{first}.{last}", f"{last}{self._number}",
                  f"{first}{self._number}", f"x{first}x{self._number}", f"{first[:3]}{last[:4]}", f"the_{first}", f"{last}{first[0]}"]
        return shapes[int(self._style * 1000) % len(shapes)]

    def email(self):
        first, last = self._latin(self.first, False), self._latin(self.last, True)
        local = [f"{first}.{last}", f"{first[0]}.{last}", f"{first}{last}", f"{first}{self._number}", f"{last}.{first}", f"{first}_{last}"]
        domains = DOMAINS + 3 * NATIVE_DOMAINS.get(self.lang, [])
        n = int(self._style * 10_000)
        return f"{local[n % len(local)]}@{domains[n // 7 % len(domains)]}"
