"""Words for the slots of the synthetic text: places, organisations, months, trades and peoples in each language.

`|` separates entries. What stands here goes into a text in its base form; a template that needs another form writes
the word out itself.
"""

MONTHS = {
    "en": "January|February|March|April|May|June|July|August|September|October|November|December",
    "de": "Januar|Februar|März|April|Mai|Juni|Juli|August|September|Oktober|November|Dezember",
    "es": "enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|octubre|noviembre|diciembre",
    "fr": "janvier|février|mars|avril|mai|juin|juillet|août|septembre|octobre|novembre|décembre",
    "it": "gennaio|febbraio|marzo|aprile|maggio|giugno|luglio|agosto|settembre|ottobre|novembre|dicembre",
    "nl": "januari|februari|maart|april|mei|juni|juli|augustus|september|oktober|november|december",
    "pl": "stycznia|lutego|marca|kwietnia|maja|czerwca|lipca|sierpnia|września|października|listopada|grudnia",
    "pt": "janeiro|fevereiro|março|abril|maio|junho|julho|agosto|setembro|outubro|novembro|dezembro",
    "sv": "januari|februari|mars|april|maj|juni|juli|augusti|september|oktober|november|december",
    "ru": "января|февраля|марта|апреля|мая|июня|июля|августа|сентября|октября|ноября|декабря",
    "cs": "ledna|února|března|dubna|května|června|července|srpna|září|října|listopadu|prosince",
    "da": "januar|februar|marts|april|maj|juni|juli|august|september|oktober|november|december",
    "fi": "tammikuuta|helmikuuta|maaliskuuta|huhtikuuta|toukokuuta|kesäkuuta|heinäkuuta|elokuuta|syyskuuta|lokakuuta|marraskuuta|joulukuuta",
    "nb": "januar|februar|mars|april|mai|juni|juli|august|september|oktober|november|desember",
    "ro": "ianuarie|februarie|martie|aprilie|mai|iunie|iulie|august|septembrie|octombrie|noiembrie|decembrie",
    "hu": "január|február|március|április|május|június|július|augusztus|szeptember|október|november|december",
    "tr": "Ocak|Şubat|Mart|Nisan|Mayıs|Haziran|Temmuz|Ağustos|Eylül|Ekim|Kasım|Aralık",
    "el": "Ιανουαρίου|Φεβρουαρίου|Μαρτίου|Απριλίου|Μαΐου|Ιουνίου|Ιουλίου|Αυγούστου|Σεπτεμβρίου|Οκτωβρίου|Νοεμβρίου|Δεκεμβρίου",
    "uk": "січня|лютого|березня|квітня|травня|червня|липня|серпня|вересня|жовтня|листопада|грудня",
}
# d day, dd day with zero, m month number, mm with zero, M month name, M3 its first three letters, y year, yy short year
DATE_FORMS = {
    "en": "M d, y|d M y|mm/dd/y|m/d/yy|y-mm-dd|dd M3 y|dth M y|M dth, y|dd/mm/y|M3 d, y|d-M3-y", "de": "d. M y|dd.mm.y|dd.mm.yy|d.m.y|y-mm-dd|d. M3. y",
    "es": "d de M de y|dd/mm/y|dd-mm-y|d/m/yy|d de M|y-mm-dd", "fr": "d M y|dd/mm/y|dd.mm.y|d/m/yy|d M|y-mm-dd", "it": "d M y|dd/mm/y|dd.mm.y|d/m/y|d M",
    "nl": "d M y|dd-mm-y|d-m-y|dd/mm/y|d M", "pl": "d M y|dd.mm.y|d M y r.|dd.mm.y r.|y-mm-dd", "pt": "d de M de y|dd/mm/y|dd-mm-y|d/m/yy|d de M",
    "sv": "d M y|y-mm-dd|d/m y|yymmdd", "ru": "d M y|d M y года|dd.mm.y|dd.mm.y г.|d M|dd.mm.yy", "cs": "d. M y|d. m. y|dd.mm.y",
    "da": "d. M y|dd.mm.y|dd-mm-y", "fi": "d. M y|d.m.y", "nb": "d. M y|dd.mm.y", "ro": "d M y|dd.mm.y|dd/mm/y", "hu": "y. M d.|y.mm.dd.|y. mm. dd.",
    "tr": "d M y|dd.mm.y|dd/mm/y", "el": "d M y|dd/mm/y|d/m/y", "uk": "d M y року|dd.mm.y|d M y р.", "ja": "y年m月d日|y/mm/dd", "zh": "y年m月d日|y-mm-dd",
}
CITIES = {
    "en": "London|Boston|Manchester|Seattle|Leeds|Toronto|Austin|Glasgow|Denver|Sydney|Dublin|Bristol|Mumbai|Lagos|Nairobi|Phoenix|Chicago|Cardiff|Oakland|Perth|Reading|"
          "Bath|Mobile|Paris|Berlin|Singapore|Dallas|Portland|Hyderabad|Cape Town|San Diego|New York|Stoke-on-Trent|Salt Lake City|Kuala Lumpur|Melbourne|Norwich",
    "de": "Berlin|Hamburg|München|Köln|Frankfurt am Main|Stuttgart|Leipzig|Dresden|Hannover|Nürnberg|Bremen|Essen|Wien|Graz|Linz|Zürich|Bern|Basel|Ulm|Gera|Halle (Saale)|"
          "Bad Homburg|Castrop-Rauxel|Freiburg im Breisgau|Göttingen|Kiel|Rostock|Paris|London|Istanbul|Warschau|Mailand",
    "es": "Madrid|Barcelona|Valencia|Sevilla|Zaragoza|Bilbao|Málaga|Murcia|Granada|Oviedo|Ciudad de México|Guadalajara|Buenos Aires|Rosario|Bogotá|Medellín|Lima|Santiago|"
          "Las Palmas de Gran Canaria|A Coruña|San Sebastián|Londres|París|Getafe|Alcorcón|Cádiz",
    "fr": "Paris|Lyon|Marseille|Toulouse|Nice|Nantes|Strasbourg|Bordeaux|Lille|Rennes|Montréal|Genève|Lausanne|Bruxelles|Liège|Saint-Étienne|Aix-en-Provence|Clermont-Ferrand|"
          "Le Havre|La Rochelle|Dakar|Alger|Londres|Tours|Angers|Nancy",
    "it": "Roma|Milano|Napoli|Torino|Palermo|Genova|Bologna|Firenze|Bari|Catania|Venezia|Verona|Padova|Trieste|Reggio Emilia|La Spezia|Lecce|Perugia|Parigi|Londra|Lugano|Cuneo",
    "nl": "Amsterdam|Rotterdam|Utrecht|Den Haag|Eindhoven|Groningen|Tilburg|Breda|Nijmegen|Antwerpen|Gent|Leuven|Brugge|'s-Hertogenbosch|Zwolle|Assen|Almere|Berlijn|Parijs|Londen|Delft",
    "pl": "Warszawa|Kraków|Łódź|Wrocław|Poznań|Gdańsk|Szczecin|Lublin|Katowice|Białystok|Bielsko-Biała|Zielona Góra|Rzeszów|Toruń|Radom|Sopot|Gdynia|Nowy Sącz",
    "pt": "Lisboa|Porto|Braga|Coimbra|Faro|Aveiro|São Paulo|Rio de Janeiro|Belo Horizonte|Curitiba|Porto Alegre|Salvador|Recife|Fortaleza|Brasília|Manaus|Luanda|Setúbal|Campinas|Évora",
    "sv": "Stockholm|Göteborg|Malmö|Uppsala|Västerås|Örebro|Linköping|Lund|Umeå|Gävle|Borås|Kiruna|Helsingborg|Köpenhamn|Oslo|Åre|Visby|Skellefteå",
    "ru": "Москва|Санкт-Петербург|Новосибирск|Екатеринбург|Казань|Нижний Новгород|Самара|Омск|Ростов-на-Дону|Уфа|Пермь|Воронеж|Минск|Тула|Сочи|Краснодар|Владивосток",
    "cs": "Praha|Brno|Ostrava|Plzeň|Olomouc|Liberec|Hradec Králové|Zlín|Tábor|České Budějovice", "da": "København|Aarhus|Odense|Aalborg|Esbjerg|Roskilde|Vejle|Svendborg",
    "fi": "Helsinki|Espoo|Tampere|Oulu|Turku|Jyväskylä|Lahti|Kuopio|Vaasa", "nb": "Oslo|Bergen|Trondheim|Stavanger|Tromsø|Drammen|Bodø|Ålesund",
    "ro": "București|Cluj-Napoca|Timișoara|Iași|Constanța|Brașov|Sibiu|Oradea|Craiova", "hu": "Budapest|Debrecen|Szeged|Pécs|Győr|Miskolc|Eger|Kecskemét",
    "tr": "İstanbul|Ankara|İzmir|Bursa|Antalya|Adana|Konya|Eskişehir|Trabzon|Diyarbakır", "el": "Αθήνα|Θεσσαλονίκη|Πάτρα|Ηράκλειο|Λάρισα|Βόλος|Ιωάννινα|Χανιά",
    "uk": "Київ|Львів|Харків|Одеса|Дніпро|Запоріжжя|Вінниця|Полтава|Чернівці|Івано-Франківськ", "ja": "東京|大阪|京都|札幌|名古屋|福岡|横浜|仙台|神戸|広島市",
    "zh": "北京|上海|广州|深圳|成都|杭州|武汉|西安|南京|重庆市",
}
COUNTRIES = {
    "en": "Germany|India|Nigeria|Brazil|the Netherlands|Canada|South Korea|Mexico|Poland|Kenya|Vietnam|France|Turkey|Egypt|Ireland|Sweden|Pakistan|New Zealand|the UK|USA",
    "de": "Deutschland|Österreich|Polen|Italien|Frankreich|Spanien|Syrien|Portugal|Indien|Rumänien|Brasilien", "es": "España|México|Argentina|Colombia|Perú|Chile|Marruecos|Francia|Alemania|Ecuador",
    "fr": "France|Belgique|Suisse|Algérie|Tunisie|Canada|Sénégal|Espagne|Allemagne|Italie", "it": "Italia|Francia|Germania|Romania|Albania|Spagna|Svizzera|Marocco|Perù",
    "nl": "Nederland|België|Duitsland|Frankrijk|Suriname|Marokko|Polen|Spanje|Indonesië", "pl": "Polska|Niemcy|Ukraina|Czechy|Francja|Włochy|Hiszpania|Białoruś",
    "pt": "Portugal|Brasil|Angola|Moçambique|Cabo Verde|Espanha|França|Alemanha", "sv": "Sverige|Norge|Finland|Danmark|Syrien|Tyskland|Somalia|Iran|Polen",
    "ru": "Россия|Беларусь|Казахстан|Германия|Узбекистан|Армения|Грузия|Турция", "cs": "Česká republika|Slovensko|Německo|Polsko|Rakousko", "da": "Danmark|Sverige|Tyskland|Norge|Polen",
    "fi": "Suomi|Ruotsi|Viro|Venäjä|Saksa", "nb": "Norge|Sverige|Polen|Danmark|Island", "ro": "România|Republica Moldova|Germania|Italia|Spania", "hu": "Magyarország|Ausztria|Románia|Németország",
    "tr": "Türkiye|Almanya|Hollanda|Azerbaycan|Suriye", "el": "Ελλάδα|Κύπρος|Γερμανία|Αλβανία", "uk": "Україна|Польща|Німеччина|Чехія", "ja": "日本|中国|韓国|アメリカ|ベトナム", "zh": "中国|美国|日本|德国|法国|澳大利亚",
}
# Kinds of organisation; {c} a city, {l} a surname, {n} a number.
ORGS = {
    "en": {"hosp": "{c} General Hospital|St. Mary's Hospital|{l} Memorial Hospital|{c} Royal Infirmary|{l} Medical Center|Riverside Clinic|Kaiser Permanente|Mercy Health|{l} Family Practice|{c} Children's Hospital",
           "bank": "Barclays|HSBC|First National Bank of {c}|Wells Fargo|{l} & Sons Bank|{c} Credit Union|Lloyds Bank|Citibank|Santander UK|Chase",
           "uni": "University of {c}|{c} State University|{l} College|King's College London|MIT|{c} Community College|Open University",
           "school": "{l} High School|{c} Elementary School|St. Patrick's Primary School|{l} Academy", "court": "{c} Crown Court|Supreme Court|U.S. District Court for the District of {c}|High Court of Justice",
           "ins": "Aetna|Blue Cross Blue Shield|Allstate|Aviva|{l} Mutual|State Farm|Direct Line|UnitedHealthcare", "gov": "Home Office|HMRC|Department of Labor|IRS|{c} City Council|FBI|European Commission|Social Security Administration|DVLA",
           "org": "Acme Corp|Globex|{l} Industries|{l} & Partners LLP|Red Cross|Amnesty International|Siemens|{c} United|Deloitte|{l}Soft|Nexora Labs|Bluewater Logistics Ltd|Tesla|UNICEF|Initech|{l} Brothers Construction|Reuters|Microsoft|Northwind Traders|BrightPath"},
    "de": {"hosp": "Universitätsklinikum {c}|St.-Josef-Krankenhaus|Klinikum {c}|Charité|Helios Klinik {c}|Praxis Dr. {l}|Marienhospital {c}", "bank": "Sparkasse {c}|Deutsche Bank|Commerzbank|Volksbank {c} eG|ING|DKB",
           "uni": "Universität {c}|TU {c}|Hochschule {c}|ETH Zürich", "school": "Goethe-Gymnasium|Grundschule {c}|{l}-Realschule", "court": "Amtsgericht {c}|Landgericht {c}|OLG {c}|Bundesgerichtshof|BGH|Verwaltungsgericht {c}|Sozialgericht {c}",
           "ins": "AOK|Techniker Krankenkasse|Allianz|HUK-COBURG|Barmer|R+V Versicherung", "gov": "Finanzamt {c}|Jobcenter {c}|Stadt {c}|Bundesagentur für Arbeit|Jugendamt {c}|BaFin|Landratsamt {c}",
           "org": "Siemens|BASF|{l} GmbH|{l} & Söhne KG|Stadtwerke {c}|SV {c}|Caritas|Deutsche Bahn|{l} Maschinenbau AG|Autohaus {l}|Bäckerei {l}|SAP|Bosch|FC {c} 04|Rotes Kreuz|{l} Logistik GmbH & Co. KG"},
    "es": {"hosp": "Hospital Universitario de {c}|Hospital General de {c}|Clínica {l}|Centro de Salud {c} Norte|Hospital San Rafael|IMSS", "bank": "Banco Santander|BBVA|CaixaBank|Banco Sabadell|Bankinter",
           "uni": "Universidad de {c}|Universidad Complutense|UNAM|Universidad Politécnica de {c}", "school": "Colegio San José|IES {l}|CEIP Miguel de Cervantes", "court": "Tribunal Supremo|Audiencia Provincial de {c}|Juzgado de Primera Instancia n.º 3 de {c}|Juzgado de lo Social de {c}",
           "ins": "Mapfre|Sanitas|Mutua Madrileña|Seguros {l}", "gov": "Ayuntamiento de {c}|Agencia Tributaria|Seguridad Social|Ministerio de Justicia|Junta de Andalucía|Policía Nacional",
           "org": "Telefónica|{l} Hermanos S.L.|Talleres {l}|Construcciones {l} S.A.|Cruz Roja|Inditex|Real {c} C.F.|Grupo {l}|Asesoría {l}|Pemex|El Corte Inglés"},
    "fr": {"hosp": "CHU de {c}|Hôpital Saint-Antoine|Clinique {l}|Centre hospitalier de {c}|Hôpital Necker", "bank": "BNP Paribas|Crédit Agricole|Société Générale|Banque Postale|Caisse d'Épargne",
           "uni": "Université de {c}|Sorbonne|École polytechnique|Université {c} 2", "school": "lycée {l}|collège Jean-Moulin|école Jules-Ferry", "court": "tribunal judiciaire de {c}|Cour de cassation|cour d'appel de {c}|conseil de prud'hommes de {c}",
           "ins": "MAIF|AXA|Groupama|MACIF|Mutuelle {l}|CPAM", "gov": "mairie de {c}|URSSAF|préfecture de {c}|CAF|Pôle emploi|ministère de l'Intérieur", "org": "Renault|SNCF|{l} SARL|Établissements {l}|{l} et Fils|Croix-Rouge|Carrefour|Olympique de {c}|Cabinet {l}|Orange|Boulangerie {l}"},
    "it": {"hosp": "Ospedale San Raffaele|Policlinico di {c}|ASL {c} 2|Clinica {l}|Ospedale Maggiore di {c}", "bank": "Intesa Sanpaolo|UniCredit|Banca Popolare di {c}|Poste Italiane|Mediolanum", "uni": "Università di {c}|Politecnico di {c}|Bocconi",
           "school": "Liceo {l}|Istituto Comprensivo di {c}|Scuola Primaria Garibaldi", "court": "Tribunale di {c}|Corte di Cassazione|Corte d'Appello di {c}|TAR Lazio", "ins": "Generali|UnipolSai|Reale Mutua|Assicurazioni {l}",
           "gov": "Comune di {c}|Agenzia delle Entrate|INPS|Prefettura di {c}|Regione Lombardia|Guardia di Finanza", "org": "Fiat|{l} S.r.l.|Fratelli {l} S.n.c.|Studio Legale {l}|Eni|Juventus|Caritas|Trattoria da {l}|Ferrovie dello Stato|{l} Costruzioni S.p.A."},
    "nl": {"hosp": "Erasmus MC|UMC {c}|Ziekenhuis {c}|Huisartsenpraktijk {l}|Sint-Elisabeth Ziekenhuis", "bank": "ING|Rabobank|ABN AMRO|SNS Bank|KBC", "uni": "Universiteit {c}|TU Delft|Hogeschool {c}|KU Leuven", "school": "basisschool De Regenboog|{l} College|Sint-Jozefschool",
           "court": "rechtbank {c}|gerechtshof {c}|Hoge Raad|Raad van State", "ins": "Achmea|Nationale-Nederlanden|CZ|VGZ|Zilveren Kruis", "gov": "gemeente {c}|Belastingdienst|UWV|IND|politie {c}|SVB",
           "org": "Philips|{l} BV|Bouwbedrijf {l}|Albert Heijn|PSV|Ahold|Stichting {l}|Rode Kruis|NS|Garage {l}|{l} & Zonen|Ajax"},
    "pl": {"hosp": "Szpital Miejski w Sopocie|Szpital im. {l}|Centrum Medyczne Lux|NZOZ {l}|Szpital Kliniczny nr 2", "bank": "PKO BP|mBank|Bank Pekao|ING Bank Śląski|Alior Bank", "uni": "Uniwersytet Jagielloński|Politechnika Warszawska|UAM|SGH",
           "school": "Szkoła Podstawowa nr {n}|II LO|Technikum nr {n}", "court": "Sąd Rejonowy w Krakowie|Sąd Okręgowy w Łodzi|Sąd Najwyższy|NSA", "ins": "PZU|Warta|Ergo Hestia|NFZ", "gov": "ZUS|Urząd Skarbowy Warszawa-Wola|Urząd Miasta Poznania|Ministerstwo Finansów|NFZ",
           "org": "Orlen|{l} Sp. z o.o.|Biedronka|PKP Intercity|Allegro|Kancelaria {l}|Firma Budowlana {l}|Legia Warszawa|Caritas|Zakłady {l} S.A."},
    "pt": {"hosp": "Hospital de Santa Maria|Hospital das Clínicas|Clínica {l}|Centro de Saúde de {c}|UPA de {c}", "bank": "Caixa Geral de Depósitos|Millennium BCP|Itaú|Banco do Brasil|Bradesco|Nubank", "uni": "Universidade de {c}|USP|Universidade do Minho|UFRJ",
           "school": "Escola Secundária de {c}|Colégio {l}|Escola Municipal {l}", "court": "Tribunal da Relação de {c}|Supremo Tribunal Federal|STJ|Tribunal Judicial de {c}|TJSP", "ins": "Fidelidade|Porto Seguro|SulAmérica|Tranquilidade",
           "gov": "Câmara Municipal de {c}|Receita Federal|INSS|Segurança Social|Prefeitura de {c}|Finanças", "org": "Petrobras|{l} Lda.|{l} & Filhos|EDP|Sonae|Construtora {l} S.A.|Benfica|Vale|Padaria {l}|Cruz Vermelha|Magazine Luiza"},
    "sv": {"hosp": "Karolinska sjukhuset|Sahlgrenska|{c} lasarett|Vårdcentralen {c}|Capio", "bank": "Swedbank|SEB|Handelsbanken|Nordea|Länsförsäkringar", "uni": "Uppsala universitet|Lunds universitet|KTH|Chalmers|Högskolan i {c}", "school": "Norra skolan|{l}ska gymnasiet|Förskolan Solstrålen",
           "court": "{c} tingsrätt|Svea hovrätt|Högsta domstolen|Förvaltningsrätten i {c}", "ins": "Folksam|If|Trygg-Hansa|AFA Försäkring", "gov": "Försäkringskassan|Skatteverket|{c} kommun|Migrationsverket|Arbetsförmedlingen|Region Skåne",
           "org": "Volvo|Ericsson|IKEA|{l} Bygg AB|{l}s Åkeri AB|Röda Korset|Hammarby IF|ICA|SJ|Advokatbyrån {l}|Spotify"},
    "ru": {"hosp": "ГКБ № {n}|Городская поликлиника № {n}|Первая градская больница|клиника «Медси»|НИИ Склифосовского", "bank": "Сбербанк|ВТБ|Альфа-Банк|Тинькофф|Газпромбанк", "uni": "МГУ|СПбГУ|МГТУ им. Баумана|Казанский федеральный университет", "school": "школа № {n}|гимназия № {n}|лицей № {n}",
           "court": "Тверской районный суд|Верховный Суд РФ|Арбитражный суд Москвы|Мосгорсуд", "ins": "Ингосстрах|РЕСО-Гарантия|АльфаСтрахование|СОГАЗ", "gov": "ФНС|Пенсионный фонд|МВД|Росреестр|Министерство финансов|ЗАГС № {n}", "org": "ООО «Ромашка»|Газпром|Яндекс|АО «Север»|ООО «{l} и партнёры»|РЖД|ПАО «Ростелеком»|ИП {l}|Спартак|Красный Крест|завод «Прогресс»"},
}
SMALL_ORGS = {  # for the languages with few templates: one list for every kind
    "cs": "Česká spořitelna|Škoda Auto|Nemocnice Motol|Masarykova univerzita|{l} s.r.o.|ČEZ|Krajský soud v Brně|Úřad práce", "da": "Danske Bank|Novo Nordisk|Rigshospitalet|{l} ApS|Aarhus Universitet|Skattestyrelsen|DSB|Københavns Kommune",
    "fi": "Nokia|Kela|HUS|{l} Oy|Osuuspankki|Helsingin yliopisto|Verohallinto|Kesko", "nb": "DNB|NAV|Oslo universitetssykehus|{l} AS|Equinor|Universitetet i Bergen|Skatteetaten|Bergen kommune", "ro": "Banca Transilvania|Dacia|ANAF|{l} SRL|Spitalul Județean Cluj|Universitatea din București|CFR",
    "hu": "OTP Bank|MOL|NAV|{l} Kft.|Semmelweis Egyetem|Szent János Kórház|Magyar Posta", "tr": "Ziraat Bankası|Türk Hava Yolları|SGK|{l} A.Ş.|Ankara Üniversitesi|Acıbadem Hastanesi|Galatasaray", "el": "Εθνική Τράπεζα|ΔΕΗ|ΕΦΚΑ|Νοσοκομείο Ευαγγελισμός|ΑΠΘ|{l} Α.Ε.|ΟΑΕΔ|Ολυμπιακός",
    "uk": "ПриватБанк|Укрзалізниця|ТОВ «{l}»|Київстар|КНУ імені Шевченка|Нова пошта|МОЗ|Шевченківський районний суд", "ja": "三菱UFJ銀行|トヨタ自動車|東京大学|国立病院機構|株式会社{l}商事|厚生労働省|ソニー|市立第一病院", "zh": "中国银行|华为|北京大学|协和医院|{l}氏集团|腾讯|国家税务总局|市第一人民医院|阿里巴巴",
}
JOBS = {  # male|female in pairs
    "en": "nurse|nurse|teacher|teacher|software engineer|software engineer|plumber|plumber|accountant|accountant|truck driver|truck driver|lawyer|lawyer|electrician|midwife|chef|chef|carpenter|social worker|sales manager|sales manager|warehouse operative|receptionist|"
          "pharmacist|pharmacist|police officer|police officer|data analyst|data analyst|farmer|farmer|HR business partner|HR business partner|firefighter|paralegal|senior project manager|head of marketing|CEO|CFO|bus driver|cleaner",
    "de": "Krankenpfleger|Krankenschwester|Lehrer|Lehrerin|Elektriker|Elektrikerin|Steuerberater|Steuerberaterin|Koch|Köchin|Busfahrer|Busfahrerin|Rechtsanwalt|Rechtsanwältin|Informatiker|Informatikerin|Tischler|Friseurin|Verkäufer|Verkäuferin|Lagerist|Erzieherin|Maurer|Apothekerin",
    "es": "enfermero|enfermera|profesor|profesora|fontanero|abogada|albañil|cajera|camionero|limpiadora|contable|contable|cocinero|cocinera|electricista|maestra de infantil|agricultor|farmacéutica|jubilado|ama de casa|policía|administrativa",
    "fr": "infirmier|infirmière|instituteur|institutrice|plombier|comptable|chauffeur routier|caissière|avocat|avocate|boulanger|coiffeuse|ingénieur|ingénieure|maçon|aide-soignante|cuisinier|pharmacienne|agriculteur|assistante sociale",
    "it": "infermiere|infermiera|insegnante|maestra|idraulico|commessa|avvocato|avvocata|ragioniere|impiegata|muratore|parrucchiera|autista|cuoca|ingegnere|farmacista|elettricista|ostetrica|geometra|badante",
    "nl": "verpleegkundige|verpleegkundige|leraar|lerares|loodgieter|kapster|vrachtwagenchauffeur|kassamedewerkster|boekhouder|advocate|timmerman|verloskundige|elektricien|schoonmaakster|kok|juriste|programmeur|apothekersassistente",
    "pl": "nauczyciel|nauczycielka|kierowca|pielęgniarka|księgowy|księgowa|elektryk|fryzjerka|informatyk|sprzedawczyni|murarz|położna|kucharz|kucharka|adwokat|lekarka|spawacz|emerytka",
    "pt": "enfermeiro|enfermeira|professor|professora|pedreiro|cabeleireira|motorista|advogada|contador|contabilista|eletricista|empregada doméstica|cozinheiro|cozinheira|engenheiro|farmacêutica|agricultor|vendedora",
    "sv": "sjuksköterska|sjuksköterska|lärare|lärare|elektriker|frisör|snickare|undersköterska|lastbilschaufför|ekonom|rörmokare|barnmorska|kock|advokat|systemutvecklare|förskollärare|säljare|butiksbiträde",
    "ru": "учитель|учительница|водитель|медсестра|бухгалтер|бухгалтер|электрик|продавщица|инженер|инженер|слесарь|воспитательница|юрист|юрист|повар|парикмахер|программист|пенсионерка",
}
# Never marked: what a clinical or technical text is full of and what looks like a name.
DISEASES = {
    "en": "Parkinson's disease|Crohn's disease|type 2 diabetes|Hashimoto's thyroiditis|major depressive disorder|asthma|hypertension|Hodgkin lymphoma|Bell's palsy|atrial fibrillation|HIV|Alzheimer's|hepatitis C|Ménière's disease|COPD|bipolar disorder",
    "de": "Morbus Crohn|Diabetes mellitus Typ 2|Parkinson|Hashimoto-Thyreoiditis|arterielle Hypertonie|Asthma bronchiale|rezidivierende Depression|Vorhofflimmern|Morbus Basedow|Alzheimer-Demenz", "es": "enfermedad de Crohn|diabetes mellitus tipo 2|enfermedad de Parkinson|hipertensión arterial|asma bronquial|síndrome de Sjögren|depresión mayor|hepatitis B",
    "fr": "maladie de Crohn|diabète de type 2|maladie de Parkinson|hypertension artérielle|asthme|syndrome de Gougerot-Sjögren|dépression|maladie de Basedow", "it": "morbo di Crohn|diabete di tipo 2|morbo di Parkinson|ipertensione|asma|tiroidite di Hashimoto|depressione|sindrome di Down",
    "nl": "ziekte van Crohn|diabetes type 2|ziekte van Parkinson|hypertensie|astma|depressie|ziekte van Lyme|hartfalen", "pl": "choroba Parkinsona|cukrzyca typu 2|choroba Leśniowskiego-Crohna|nadciśnienie tętnicze|astma|depresja|choroba Hashimoto",
    "pt": "doença de Crohn|diabetes tipo 2|doença de Parkinson|hipertensão arterial|asma|depressão|tiroidite de Hashimoto|dengue", "sv": "Crohns sjukdom|diabetes typ 2|Parkinsons sjukdom|hypertoni|astma|depression|förmaksflimmer", "ru": "болезнь Паркинсона|сахарный диабет 2 типа|болезнь Крона|гипертоническая болезнь|бронхиальная астма|депрессия",
}
DRUGS = "metformin|Ibuprofen|L-thyroxine|Xarelto|sertraline|Humira|amoxicillin|bisoprolol|Marcumar|omeprazole|insulin glargine|Ritalin|lisinopril|Ozempic".split("|")
STREETS = {  # where Faker has no native street
    "tr": "Atatürk Caddesi|Cumhuriyet Mah. Gül Sok.|İnönü Bulvarı|Bağdat Cad.|Lale Sokak", "zh": "中山路|人民路|解放大道|长江路|建国门外大街|南京西路", "ja": "丸の内|本町|桜木町|栄|中央|緑が丘",
}
WRAPS = {
    "en": "Summarise the following:|Please rewrite this more politely:|Translate to French:|Can you proofread this?|Extract the key facts as JSON:|Draft a reply to this message:|here's the note, make it shorter|What should I answer?|Turn this into bullet points:|Fix grammar:",
    "de": "Fasse den Text zusammen:|Bitte übersetze ins Englische:|Formuliere eine Antwort auf folgende Nachricht:|Korrigiere bitte die Rechtschreibung:|kannst du das kürzer machen?|Schreib das höflicher:", "es": "Resume este texto:|Traduce al inglés:|Corrige la ortografía:|Redacta una respuesta a este mensaje:|hazlo más corto por favor:",
    "fr": "Résume ce texte :|Traduis en anglais :|Corrige les fautes :|Rédige une réponse à ce message :|Peux-tu reformuler ceci ?", "it": "Riassumi questo testo:|Traduci in inglese:|Correggi gli errori:|Scrivi una risposta a questo messaggio:|puoi accorciarlo?", "nl": "Vat dit samen:|Vertaal naar het Engels:|Verbeter de spelling:|Schrijf een antwoord op dit bericht:|kun je dit korter maken?",
    "pl": "Streść ten tekst:|Przetłumacz na angielski:|Popraw błędy:|Napisz odpowiedź na tę wiadomość:|skróć to proszę:", "pt": "Resuma este texto:|Traduza para inglês:|Corrija os erros:|Escreva uma resposta a esta mensagem:|pode encurtar isto?", "sv": "Sammanfatta texten:|Översätt till engelska:|Rätta stavningen:|Skriv ett svar på meddelandet:|kan du korta ner det här?",
    "ru": "Сократи текст:|Переведи на английский:|Исправь ошибки:|Напиши ответ на это письмо:|перефразируй вежливее:", "cs": "Shrň tento text:|Přelož do angličtiny:", "da": "Opsummer teksten:|Oversæt til engelsk:", "fi": "Tiivistä tämä teksti:|Käännä englanniksi:", "nb": "Oppsummer teksten:|Oversett til engelsk:", "ro": "Rezumă textul:|Tradu în engleză:",
    "hu": "Foglald össze a szöveget:|Fordítsd angolra:", "tr": "Bu metni özetle:|İngilizceye çevir:", "el": "Κάνε περίληψη:|Μετάφρασε στα αγγλικά:", "uk": "Стисло перекажи текст:|Переклади англійською:", "ja": "次の文章を要約してください：|英語に翻訳して：", "zh": "请总结以下内容：|翻译成英文：",
}


def words(table, lang):
    """The entries for a language; English where the table has none for it."""
    return (table.get(lang) or table["en"]).split("|")
