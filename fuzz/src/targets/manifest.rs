//! A manifest that a person wrote: what is taken can be written and is taken as the same again; what is refused says where.

use fleet_control_plane::manifest::{read, to_yaml};

pub(super) fn run(bytes: &[u8]) {
    // YAML counts a carriage return as the end of a line too.
    let lines = bytes.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count() + 1;
    let manifests = match read("file.yaml", bytes) {
        Ok(manifests) => manifests,
        Err(errors) => {
            assert!(!errors.0.is_empty() && !errors.to_string().is_empty());
            for error in &errors.0 {
                assert!(!error.problem.is_empty());
                assert!(
                    (1..=lines).contains(&error.line),
                    "line {} of {lines}",
                    error.line
                );
            }
            return;
        }
    };
    for manifest in manifests {
        let written = to_yaml(&manifest.metadata, &manifest.spec, None::<()>);
        let again =
            read("again.yaml", written.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{written}"));
        let [again] = again.as_slice() else {
            panic!("one object became {}:\n{written}", again.len());
        };
        assert_eq!(again.spec, manifest.spec, "{written}");
        assert_eq!(again.metadata.name, manifest.metadata.name);
        assert_eq!(again.metadata.labels, manifest.metadata.labels);
    }
}
