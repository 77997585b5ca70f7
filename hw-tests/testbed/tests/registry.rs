//! Debian's registry with the sample images: what is pushed is what can be pulled.

use fleet_testbed::oci::{Digest, push};
use fleet_testbed::registry::{Registry, RegistryOptions};
use fleet_testbed::sample;
use serde_json::Value;

#[test]
fn each_sample_can_be_pulled_by_digest_with_every_part_it_names() {
    let registry = Registry::start(RegistryOptions::default()).expect("it starts");
    for sample in sample::push_all(&registry).expect("the samples are pushed") {
        let digest = sample.image.digest();
        let manifest =
            push::pull_manifest(&registry.url(), sample.repository, digest.as_str()).expect("there");
        assert_eq!(&Digest::of(&manifest), digest, "{}", sample.name());
        let by_tag = push::pull_manifest(&registry.url(), sample.repository, sample.tag).expect("there");
        assert_eq!(manifest, by_tag);

        let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
        let layers = manifest["layers"].as_array().expect("a list").iter();
        for part in layers.chain([&manifest["config"]]) {
            let named = part["digest"].as_str().expect("a digest");
            let blob = push::pull_blob(&registry.url(), sample.repository, named).expect("there");
            assert_eq!(Digest::of(&blob).as_str(), named);
            assert_eq!(part["size"], blob.len());
        }
    }
}

#[test]
fn images_are_still_there_after_a_restart_on_the_same_port() {
    let mut registry = Registry::start(RegistryOptions::default()).expect("it starts");
    let address = registry.address();
    let web = sample::web("1").expect("it builds");
    registry
        .push(&web.image, web.repository, web.tag)
        .expect("pushed");
    registry.stop().expect("it ends in order");
    assert!(
        push::pull_manifest(&registry.url(), web.repository, "1").is_err(),
        "it is down"
    );
    registry.start_again().expect("it starts again");
    assert_eq!(registry.address(), address);
    push::pull_manifest(&registry.url(), web.repository, "1").expect("still there");
}

#[test]
fn two_versions_differ_and_share_their_base_layer() {
    let (one, two) = (
        sample::web("1").expect("it builds"),
        sample::web("2").expect("it builds"),
    );
    assert_ne!(one.image.digest(), two.image.digest());
    assert_eq!(one.image.layers[0].digest, two.image.layers[0].digest);
}

#[test]
fn an_image_that_is_not_there_is_refused_with_the_registrys_words() {
    let registry = Registry::start(RegistryOptions::default()).expect("it starts");
    let error = push::pull_manifest(&registry.url(), "absent", "1").expect_err("it is not there");
    assert!(error.to_string().contains("404"), "{error}");
}

#[test]
fn a_damaged_blob_is_served_as_if_it_were_whole_until_it_is_mended() {
    let registry = Registry::start(RegistryOptions::default()).expect("it starts");
    let web = sample::web("1").expect("it builds");
    registry
        .push(&web.image, web.repository, web.tag)
        .expect("pushed");
    let layer = web.image.layers.last().expect("it has layers");
    let served =
        || push::pull_blob(&registry.url(), web.repository, layer.digest.as_str()).expect("it is served");
    assert_eq!(Digest::of(&served()), layer.digest);
    registry.damage(&layer.digest).expect("damaged");
    assert_eq!(served().len(), layer.bytes.len());
    assert_ne!(Digest::of(&served()), layer.digest);
    registry.damage(&layer.digest).expect("mended");
    assert_eq!(Digest::of(&served()), layer.digest);
}
