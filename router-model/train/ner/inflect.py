"""Case endings for Slavic names, because Faker gives the nominative only.

The rules cover the common declensions. A name that no rule fits stays as it is, which is what its bearers often do as
well. Vocatives and plurals are left out.
"""

RU = {  # ending -> (genitive, dative, accusative, instrumental, locative)
    "male_cons": ("а", "у", "а", "ом", "е"), "male_sur": ("а", "у", "а", "ым", "е"),
    "j": ("я", "ю", "я", "ем", "е"), "soft": ("я", "ю", "я", "ем", "е"), "ij": ("я", "ю", "я", "ем", "и"),
    "adj": ("ого", "ому", "ого", "ым", "ом"), "adj_soft": ("ого", "ому", "ого", "им", "ом"),
    "fem_sur": ("ой", "ой", "у", "ой", "ой"), "fem_adj": ("ой", "ой", "ую", "ой", "ой"),
    "a": ("ы", "е", "у", "ой", "е"), "a_velar": ("и", "е", "у", "ой", "е"), "ja": ("и", "е", "ю", "ей", "е"),
    "ija": ("и", "и", "ю", "ей", "и"), "ich": ("а", "у", "а", "ем", "е"), "fem_soft": ("и", "и", "ь", "ью", "и"),
}
CASES = {"gen": 0, "dat": 1, "acc": 2, "ins": 3, "loc": 4}
RU_IRREGULAR = {"Лев": "Льв", "Павел": "Павл", "Пётр": "Петр"}


def russian(name, case, male, part):
    """`part` is "first", "last" or "middle" (the patronymic)."""
    n = CASES[case]
    low = name.lower()

    def put(stem_cut, row):
        return name[: len(name) - stem_cut] + RU[row][n]

    if part == "last":
        if male:
            if low.endswith(("ов", "ев", "ёв", "ин", "ын")):
                return put(0, "male_sur")
            if low.endswith("кий") or low.endswith("ий"):
                return put(2, "adj_soft")
            if low.endswith(("ый", "ой")):
                return put(2, "adj")
        elif low.endswith(("ова", "ева", "ёва", "ина", "ына")):
            return put(1, "fem_sur")
        elif low.endswith("ая"):
            return put(2, "fem_adj")
        elif low[-1] not in "ая":
            return name
    if low.endswith("ич"):
        return put(0, "ich")
    if low.endswith("ия"):
        return put(1, "ija")
    if low.endswith("я"):
        return put(1, "ja")
    if low.endswith("а"):
        return put(1, "a_velar" if low[-2] in "гкхжшчщ" else "a")
    if low.endswith("ий"):
        return put(1, "ij")
    if low.endswith("й"):
        return put(1, "j")
    if low.endswith("ь"):
        return put(1, "soft" if male else "fem_soft")
    if male and low[-1] in "бвгджзклмнпрстфхцчшщ":
        return RU_IRREGULAR.get(name, name) + RU["male_cons"][n]
    return name


# Consonants that soften before the -e of the Polish dative and locative.
PL_SOFT = [("ka", "ce"), ("ga", "dze"), ("ra", "rze"), ("ta", "cie"), ("da", "dzie"), ("ła", "le"), ("na", "nie"),
           ("sa", "sie"), ("wa", "wie"), ("za", "zie"), ("ba", "bie"), ("ma", "mie"), ("pa", "pie"), ("cha", "sze")]


def polish_feminine(name, case):
    stem, low = name[:-1], name.lower()
    if case == "acc":
        return stem + "ę"
    if case == "ins":
        return stem + "ą"
    if low.endswith("ja") or low.endswith("ea"):
        return stem[:-1] + ("ji" if low[-3] in "cszrn" else "i") if low.endswith("ja") else stem + "i"
    if low.endswith("ia"):
        return stem + ("i" if low[-3] in "rlkgdtfn" and low not in ("ania", "zosia", "kasia", "hania", "tania") else "")
    if low.endswith("la"):
        return stem + "i"
    if case == "gen":
        return stem + ("i" if low[-2] in "kg" else "y")
    for hard, soft in PL_SOFT:
        if low.endswith(hard):
            return name[: len(name) - len(hard)] + soft
    return stem + "y"


def polish(name, case, male, part):
    n = {"gen": 0, "dat": 1, "acc": 2, "ins": 3, "loc": 4}[case]
    low = name.lower()
    if low.endswith(("ski", "cki", "dzki")):
        return name + ("ego", "emu", "ego", "m", "m")[n]
    if low.endswith(("ska", "cka", "dzka")) and part == "last":
        return name[:-1] + ("iej", "iej", "ą", "ą", "iej")[n]
    if low.endswith("a"):
        return polish_feminine(name, case)
    if not male:
        return name
    if low.endswith(("y", "i")):
        return name + ("ego", "emu", "ego", "m", "m")[n]
    if low[-1] in "oeuęó":
        return name
    if case == "loc":
        return polish(name, "ins", male, part)[:-2] + "u" if low[-1] in "kgljczńć" else name
    stem = name
    if low.endswith("ek") or low.endswith("ec"):
        stem = name[:-2] + name[-1]
    elif low.endswith("eł"):
        stem = name[:-2] + "ł"
    elif low[-1] in "ńćśź":
        stem = name[:-1] + dict(zip("ńćśź", ("ni", "ci", "si", "zi")))[low[-1]]
    return stem + ("a", "owi", "a", "iem" if low[-1] in "kg" else "em")[n]


def czech(name, case, male, part):
    n = {"gen": 0, "dat": 1, "acc": 2, "ins": 3, "loc": 4}[case]
    low = name.lower()
    if part == "last" and low.endswith("á"):
        return name[:-1] + ("é", "é", "ou", "ou", "é")[n]
    if low.endswith("ý"):
        return name[:-1] + ("ého", "ému", "ého", "ým", "ém")[n]
    if low.endswith("a"):
        if male:
            return name[:-1] + ("y", "ovi", "u", "ou", "ovi")[n]
        return name[:-1] + ("y", "ě" if low[-2] in "nvtdbpm" else "e", "u", "ou", "e")[n]
    if low.endswith("ie"):
        return name[:-1] + ("e", "i", "i", "í", "i")[n]
    if not male or low[-1] in "eéiíoůuy":
        return name
    stem = name[:-2] + name[-1] if low.endswith(("ek", "el", "ec")) and len(low) > 4 else name
    return stem + ("a", "ovi", "a", "em", "ovi")[n]


RULES = {"ru": russian, "pl": polish, "cs": czech}


def decline(lang, name, case, male, part):
    """The inflected form; a double name is inflected in both halves. Only names in the language's own script change."""
    rule = RULES.get(lang)
    if rule is None:
        return name
    glue = "-" if "-" in name else " "
    return glue.join(rule(piece, case, male, part) if len(piece) > 2 else piece for piece in name.split(glue))
