//! Reads `fleet.toml` as a person wrote it, and says what is wrong with it so that they can put it right.

use std::fmt;
use std::ops::Range;

use fleet_protocol::enrolment::{Enrolment, MAX_ENROLMENT_BYTES};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Shortest text that is taken for a part of a key.
const KEY_PART: usize = 20;

/// What a device keeps of `fleet.toml`.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The file without its secret and its CA.
    pub public: Enrolment,
    /// The seed of the NATS key.
    pub seed: String,
    /// PEM of the CA, if the system's roots are not used.
    pub ca: Option<String>,
}

/// The secret never reaches a log.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

/// Why `fleet.toml` was not taken: a sentence for the person with the card reader. It never holds a key: TOML's words and
/// those of the checks quote values, and a seed may stand in the wrong place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Line and column, counted from 1, if one place is to blame.
    pub place: Option<(usize, usize)>,
    /// What is wrong, and what would be right.
    pub reason: String,
}

impl Refusal {
    pub(crate) fn whole(reason: impl Into<String>) -> Self {
        Self {
            place: None,
            reason: without_keys(&reason.into()),
        }
    }

    fn at(text: &str, span: Option<Range<usize>>, reason: String) -> Self {
        Self {
            place: span.map(|span| line_and_column(text, span.start)),
            reason: without_keys(&reason),
        }
    }
}

/// Of everything that could be a key or a part of one (20 and more characters of base32, which a seed has 58 of) leaves the first
/// two, which say the kind of key.
fn without_keys(text: &str) -> String {
    let in_key = |character: char| matches!(character, 'A'..='Z' | '2'..='7');
    let mut safe = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(in_key) {
        let (before, from) = rest.split_at(start);
        let (run, after) = from.split_at(from.find(|c| !in_key(c)).unwrap_or(from.len()));
        safe += before;
        match run.split_at_checked(2) {
            Some((kind, _)) if run.len() >= KEY_PART => safe.extend([kind, "…"]),
            _ => safe += run,
        }
        rest = after;
    }
    safe + rest
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some((line, column)) => write!(f, "fleet.toml, line {line}, column {column}: {}", self.reason),
            None => write!(f, "fleet.toml: {}", self.reason),
        }
    }
}

/// Reads and checks the bytes of a `fleet.toml`.
pub fn read_identity(bytes: &[u8]) -> Result<Identity, Refusal> {
    let text = text_of(bytes)?;
    let mut enrolment: Enrolment =
        toml::from_str(text).map_err(|error| Refusal::at(text, error.span(), reason(text, &error)))?;
    let field =
        |path: &str, problem: &str| Refusal::at(text, locate(text, path), format!("`{path}` {problem}"));
    if let Some(problem) = enrolment.problems().first() {
        return Err(field(&problem.path, &problem.problem));
    }
    let seed = enrolment.nats.credential.take().ok_or_else(|| {
        field(
            "nats.credential",
            "is missing: it is the seed of the device's NATS user, and begins with SU",
        )
    })?;
    check_seed(&seed).map_err(|problem| field("nats.credential", problem))?;
    let ca = enrolment.nats.ca.take();
    if let Some(pem) = &ca {
        check_ca(pem).map_err(|problem| field("nats.ca", problem))?;
    }
    Ok(Identity {
        public: enrolment,
        seed,
        ca,
    })
}

/// TOML's own words, with the remedy for the most frequent slip: of a word without quotes TOML only says which boolean or number
/// it would have taken.
fn reason(text: &str, error: &toml::de::Error) -> String {
    let message = error.message();
    let start = error.span().map_or(0, |span| span.start);
    if has_bare_word(line_at(text, start)) {
        format!("{message}; put the value in quotes if it is a text")
    } else {
        message.to_owned()
    }
}

fn line_at(text: &str, offset: usize) -> &str {
    let (before, after) = text.split_at_checked(offset).unwrap_or((text, ""));
    let start = before.rfind('\n').map_or(0, |end| end + 1);
    let end = after.find('\n').map_or(text.len(), |end| offset + end);
    text.get(start..end).unwrap_or_default()
}

/// Whether the line gives a key a value that begins like a word, and is none of the words that TOML knows.
fn has_bare_word(line: &str) -> bool {
    let value = line.split_once('=').map_or("", |(_, value)| value.trim());
    let known = ["true", "false", "inf", "nan"];
    value.starts_with(|first: char| first.is_alphabetic()) && !known.contains(&value)
}

/// Editors on other systems save in ways of their own: a byte-order mark is skipped, UTF-16 is named.
fn text_of(bytes: &[u8]) -> Result<&str, Refusal> {
    if bytes.len() > MAX_ENROLMENT_BYTES {
        let size = bytes.len();
        return Err(Refusal::whole(format!(
            "is {size} bytes long, {MAX_ENROLMENT_BYTES} at most"
        )));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(Refusal::whole("is saved as UTF-16: save it as UTF-8"));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Refusal::whole("is empty"));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]).into_owned();
        Refusal {
            place: Some(line_and_column(&good, good.len())),
            reason: "is not UTF-8 here: save the file as UTF-8".to_owned(),
        }
    })
}

fn check_seed(seed: &str) -> Result<(), &'static str> {
    if !seed.starts_with("SU") {
        return Err("is not the seed of a NATS user: that begins with SU");
    }
    match nkeys::KeyPair::from_seed(seed) {
        Ok(_) => Ok(()),
        Err(_) => Err("is damaged: its length or checksum is wrong; copy it again"),
    }
}

fn check_ca(pem: &str) -> Result<(), &'static str> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let certificates = certificates.map_err(|_| "is not whole PEM text: copy it again")?;
    if certificates.is_empty() {
        return Err("holds no certificate: it begins with -----BEGIN CERTIFICATE-----");
    }
    let usable = |der: &CertificateDer<'_>| webpki::anchor_from_trusted_cert(der).is_ok();
    if certificates.iter().all(usable) {
        Ok(())
    } else {
        Err("holds something that is no X.509 certificate")
    }
}

fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

/// Finds a field by its path (`registry[0].location`); for one that is missing, its nearest parent.
fn locate(text: &str, path: &str) -> Option<Range<usize>> {
    let table = DeTable::parse(text).ok()?;
    let mut parts = path.split(['.', '[', ']']).filter(|part| !part.is_empty());
    let mut found = table.get_ref().get(parts.next()?)?;
    for part in parts {
        match child(found.get_ref(), part) {
            Some(next) => found = next,
            None => break,
        }
    }
    Some(found.span())
}

fn child<'a, 'i>(value: &'a DeValue<'i>, part: &str) -> Option<&'a Spanned<DeValue<'i>>> {
    match value {
        DeValue::Table(table) => table.get(part),
        DeValue::Array(array) => array.get(part.parse::<usize>().ok()?),
        _ => None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn seed() -> String {
        nkeys::KeyPair::new_user().seed().expect("a seed")
    }

    pub(crate) fn fleet_toml(device: &str, seed: &str) -> String {
        format!(
            "device_id = \"{device}\"\n[labels]\nsite = \"lyon\"\n[nats]\nurl = \"tls://nats.example.com:4222\"\n\
             credential = \"{seed}\"\n[[registry]]\nlocation = \"10.0.2.100:5000\"\ninsecure = true\n"
        )
    }

    fn refused(text: &str) -> String {
        read_identity(text.as_bytes()).expect_err("a refusal").to_string()
    }

    #[test]
    fn good_file_is_split_into_public_part_and_secret() {
        let seed = seed();
        let identity = read_identity(fleet_toml("basement-lyon-7", &seed).as_bytes()).expect("an identity");
        assert_eq!(identity.seed, seed);
        assert_eq!(identity.public.nats.credential, None);
        assert_eq!(identity.public.device_id.as_str(), "basement-lyon-7");
        assert!(!format!("{identity:?}").contains(&seed));
    }

    #[test]
    fn byte_order_mark_and_windows_line_ends_are_taken() {
        let text = format!("\u{feff}{}", fleet_toml("a", &seed()).replace('\n', "\r\n"));
        read_identity(text.as_bytes()).expect("an identity");
    }

    #[test]
    fn a_text_without_quotes_is_refused_with_the_remedy() {
        let good = fleet_toml("a", &seed());
        let remedy = "put the value in quotes";
        for (quoted, bare) in [
            ("\"tls://nats.example.com:4222\"", "tls://oops"),
            ("\"tls://nats.example.com:4222\"", "nats.example.com"),
            ("\"lyon\"", "lyon"),
            ("device_id = \"a\"", "device_id = first"),
        ] {
            let said = refused(&good.replace(quoted, bare));
            assert!(said.contains(remedy) && said.contains("line "), "{said}");
            assert!(!said.contains("oops"), "it never quotes the file: {said}");
        }
        let other = refused(&good.replace("insecure = true", "insecure = 1"));
        assert!(!other.contains(remedy), "{other}");
    }

    #[test]
    fn every_bad_file_is_refused_with_its_place_and_reason() {
        let good = fleet_toml("a", &seed());
        let with = |from: &str, to: &str| good.replace(from, to);
        let table = [
            (
                with("device_id", "deviceid"),
                "line 1, column 1",
                "unknown field `deviceid`",
            ),
            (with("\"a\"", "\"A\""), "line 1, column 13", "a-z"),
            (with("url =", "ur l ="), "line 5", ""),
            (
                with("tls://nats.example.com:4222", "nats://h:4222"),
                "line 5, column 7",
                "`nats.url`",
            ),
            (
                with("credential = \"SU", "credential = \"SA"),
                "line 6, column 14",
                "begins with SU",
            ),
            (
                with("credential = \"SUA", "credential = \"SUAA"),
                "line 6, column 14",
                "damaged",
            ),
            (
                with("10.0.2.100:5000", "a b"),
                "line 8, column 12",
                "`registry[0].location`",
            ),
            (
                with("insecure = true", "insecure = \"yes\""),
                "line 9, column 12",
                "boolean",
            ),
            (
                with("[[registry]]", "ca = \"no\"\n[[registry]]"),
                "line 7, column 6",
                "no certificate",
            ),
            (
                good.replace("[nats]", "[nats]\nport = 4222"),
                "line 5, column 1",
                "unknown field `port`",
            ),
            (String::new(), "fleet.toml:", "is empty"),
            ("# ".repeat(40_000), "fleet.toml:", "65536 at most"),
        ];
        for (text, place, reason) in table {
            let said = refused(&text);
            assert!(
                said.contains(place) && said.contains(reason),
                "`{said}` lacks `{place}` or `{reason}`"
            );
        }
    }

    #[test]
    fn file_without_credential_says_what_it_is() {
        let good = fleet_toml("a", &seed());
        let text: String = good
            .lines()
            .filter(|line| !line.starts_with("credential"))
            .map(|line| format!("{line}\n"))
            .collect();
        let said = refused(&text);
        assert!(said.contains("`nats.credential` is missing"), "{said}");
    }

    #[test]
    fn bytes_that_are_no_utf8_are_named_with_their_place() {
        let said = read_identity(b"device_id = \"a\"\n# \xe9t\xe9\n")
            .expect_err("a refusal")
            .to_string();
        assert!(
            said.contains("line 2, column 3") && said.contains("UTF-8"),
            "{said}"
        );
        let said = read_identity(b"\xff\xfed\0").expect_err("a refusal").to_string();
        assert!(said.contains("UTF-16"), "{said}");
    }

    #[test]
    fn certificate_is_read_and_a_damaged_one_refused() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(vec!["ca".to_owned()]).expect("parameters");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        check_ca(&pem).expect("a certificate");
        let torn: String = pem.lines().take(3).map(|line| format!("{line}\n")).collect();
        check_ca(&torn).expect_err("a refusal");
        check_ca("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").expect_err("a refusal");
    }

    #[test]
    fn seed_in_the_wrong_place_is_never_quoted() {
        let seed = seed();
        let good = fleet_toml("a", &seed);
        let elsewhere = good.replace(&seed, "SUAC");
        let other = |from: &str| {
            assert!(elsewhere.contains(from), "{from}");
            elsewhere.replace(from, &seed)
        };
        let quoted = format!("\"{seed}\"");
        let texts = [
            other("\"a\""),
            elsewhere.replace("\"a\"", &quoted),
            elsewhere.replace("\"a\"", &format!("\"\"\"{seed}\n{seed}\"\"\"")),
            other("device_id"),
            elsewhere.replace("site", &format!("\"{seed} \"")),
            elsewhere.replace("\"lyon\"", &format!("\"{seed}\\n\"")),
            other("tls://nats.example.com:4222"),
            other("nats.example.com"),
            other("url"),
            elsewhere.replace("SUAC", &format!("{seed}{seed}")),
            elsewhere.replace("SUAC", &seed.to_lowercase()),
            elsewhere.replace("10.0.2.100:5000", &format!("{seed} ")),
            elsewhere.replace("true", &quoted),
            other("true"),
            other("[labels]\nsite = \"lyon\""),
            elsewhere.replace("[labels]\nsite = \"lyon\"", &format!("labels = {quoted}")),
            elsewhere.replace("[nats]", &format!("[{seed}]")),
            elsewhere.replace("[nats]", &format!("[nats.{seed}]")),
            elsewhere.replace("[[registry]]", &format!("[[{seed}]]")),
            elsewhere.replace("[[registry]]", &format!("[[registry]]\n{seed} = 1")),
            format!("device_id = \"a\"\nnats = {quoted}\n"),
            format!("device_id = \"a\"\nregistry = {quoted}\n[nats]\nurl = \"tls://a:1\"\n"),
            format!("{good}\n{seed}"),
            format!("{seed}\n{good}"),
            good.replace("credential =", "credential = 1 #"),
        ];
        for text in texts {
            let refusal = read_identity(text.as_bytes()).expect_err(&text.replace(&seed, "SEED"));
            let said = format!("{refusal} {refusal:?}");
            assert!(!said.contains(&seed[2..20]), "{said}");
        }
    }

    #[test]
    fn of_a_key_only_its_kind_is_left() {
        let seed = seed();
        assert_eq!(without_keys(&format!("is \"{seed}\".")), "is \"SU…\".");
        assert_eq!(without_keys(&seed), "SU…");
        assert_eq!(without_keys("`SU` in UTF-8 is SUAC"), "`SU` in UTF-8 is SUAC");
        assert_eq!(without_keys(&format!("{seed}é{seed} a")), "SU…éSU… a");
        assert_eq!(without_keys(""), "");
    }

    #[test]
    fn refusals_never_quote_the_secret() {
        let seed = seed();
        let broken = fleet_toml("a", &seed).replace(&format!("\"{seed}\""), &format!("\"{seed}"));
        assert!(!refused(&broken).contains(&seed));
        let wrong_type = fleet_toml("a", &seed).replace("tls://nats.example.com:4222", &seed);
        assert!(!refused(&wrong_type).contains(&seed));
    }
}
