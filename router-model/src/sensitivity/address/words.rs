//! The words that go on inside an address, and those that end it.

/// Words whose full stop ends no sentence.
pub(super) fn abbreviation(word: &str) -> bool {
    matches!(
        word,
        "Apt"
            | "St"
            | "Ave"
            | "Dr"
            | "No"
            | "Nº"
            | "ul"
            | "str"
            | "Str"
            | "Av"
            | "Avda"
            | "Blvd"
            | "Rd"
            | "Ste"
            | "Sta"
            | "Sto"
            | "pl"
            | "al"
            | "os"
            | "C"
            | "N"
            | "S"
            | "E"
            | "W"
    ) || word.ends_with("str")
}

/// Small words inside addresses.
pub(super) fn connector(word: &str) -> bool {
    matches!(
        word,
        "de" | "del"
            | "la"
            | "las"
            | "los"
            | "le"
            | "les"
            | "du"
            | "des"
            | "d"
            | "l"
            | "da"
            | "do"
            | "dos"
            | "das"
            | "di"
            | "della"
            | "van"
            | "den"
            | "der"
            | "an"
            | "am"
            | "im"
            | "in"
            | "of"
            | "bis"
            | "ter"
            | "izq"
            | "dcha"
            | "piso"
            | "portal"
            | "puerta"
            | "nº"
            | "n"
            | "nan"
            | "apt"
            | "a"
            | "sur"
            | "en"
            | "y"
            | "e"
            | "bei"
            | "ob"
    )
}

/// Capitalised words that begin something else.
pub(super) fn stop_word(word: &str) -> bool {
    matches!(
        word,
        "Phone"
            | "Tel"
            | "Email"
            | "Prescriber"
            | "DOB"
            | "SSN"
            | "Yours"
            | "Please"
            | "Fax"
            | "Telefon"
            | "Teléfono"
            | "Telefono"
            | "Write"
            | "Create"
            | "Draft"
            | "Best"
            | "Regards"
            | "The"
            | "Mobile"
            | "Contact"
            | "Schreibe"
            | "Ring"
            | "Date"
            | "NHC"
            | "CP"
    )
}
