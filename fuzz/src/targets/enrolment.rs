//! A `fleet.toml` from a card: a refusal names a place in the file and never holds a key.

use fleet_provision::read_identity;

pub(super) fn run(bytes: &[u8]) {
    match read_identity(bytes) {
        Ok(identity) => {
            assert!(identity.public.problems().is_empty());
            let nats = &identity.public.nats;
            assert!(
                nats.credential.is_none() && nats.ca.is_none(),
                "a secret stays in what is kept readable"
            );
        }
        Err(refusal) => {
            let lines = bytes.iter().filter(|byte| **byte == b'\n').count() + 1;
            if let Some((line, column)) = refusal.place {
                assert!((1..=lines).contains(&line), "line {line} of {lines}");
                assert!(column >= 1);
            }
            assert!(!refusal.reason.is_empty());
        }
    }
}
