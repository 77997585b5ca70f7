use std::collections::BTreeMap;

use super::*;
use crate::enrol::tests::{fleet_toml, seed};

/// A device in memory. After `power` writes every further write fails and changes nothing more, as in a power cut;
/// the write at the cut may leave its documented half-way state.
#[derive(Default, Clone)]
struct FakePlaces {
    files: BTreeMap<Place, Vec<u8>>,
    identity: Option<Identity>,
    no_fat: bool,
    host_name: String,
    time_client_restarts: usize,
    said: Vec<String>,
    writes: usize,
    power: Option<usize>,
}

impl FakePlaces {
    fn with_file(text: &str) -> Self {
        Self {
            files: BTreeMap::from([(Place::FleetToml, text.into())]),
            ..Self::default()
        }
    }

    /// Counts a write; an error is the cut.
    fn spend(&mut self) -> io::Result<()> {
        if self.power == Some(self.writes) {
            return Err(io::Error::other("power cut"));
        }
        self.writes += 1;
        Ok(())
    }

    fn error(&self) -> Option<String> {
        self.files
            .get(&Place::FleetError)
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }
}

impl Places for FakePlaces {
    fn fat_is_mounted(&mut self) -> bool {
        !self.no_fat
    }

    fn read(&mut self, place: Place) -> io::Result<Option<Vec<u8>>> {
        Ok(self.files.get(&place).cloned())
    }

    fn replace(&mut self, place: Place, content: Option<&str>) -> io::Result<()> {
        self.spend()?;
        match content {
            Some(content) => self.files.insert(place, content.into()),
            None => self.files.remove(&place),
        };
        Ok(())
    }

    fn identity(&mut self) -> io::Result<Option<Identity>> {
        Ok(self.identity.clone())
    }

    fn store_identity(&mut self, identity: &Identity) -> io::Result<()> {
        self.spend()?;
        self.identity = Some(identity.clone());
        Ok(())
    }

    fn wipe_fleet_toml(&mut self) -> io::Result<()> {
        if let Err(cut) = self.spend() {
            // Half of the file is zeros when the power goes.
            let file = self.files.entry(Place::FleetToml).or_default();
            let half = file.len() / 2;
            file[half..].fill(0);
            return Err(cut);
        }
        self.files.remove(&Place::FleetToml);
        Ok(())
    }

    fn write_error(&mut self, text: &str) -> io::Result<()> {
        if self.error().as_deref() == Some(text) {
            return Ok(());
        }
        self.spend()?;
        self.files.insert(Place::FleetError, text.into());
        Ok(())
    }

    fn remove_error(&mut self) -> io::Result<()> {
        if self.files.contains_key(&Place::FleetError) {
            self.spend()?;
            self.files.remove(&Place::FleetError);
        }
        Ok(())
    }

    fn set_host_name(&mut self, name: &str) -> io::Result<()> {
        name.clone_into(&mut self.host_name);
        Ok(())
    }

    fn restart_time_client(&mut self) {
        self.time_client_restarts += 1;
    }

    fn say(&mut self, line: &str) {
        self.said.push(line.to_owned());
    }
}

fn run(places: &mut FakePlaces) -> FirstBoot {
    first_boot(places).expect("a run without a cut")
}

fn enrolled(device: &str) -> FakePlaces {
    let mut places = FakePlaces::with_file(&fleet_toml(device, &seed()));
    assert_eq!(run(&mut places), FirstBoot::Enrolled);
    places.writes = 0;
    places
}

#[test]
fn good_file_becomes_the_identity_and_is_wiped() {
    let seed = seed();
    let mut places = FakePlaces::with_file(&fleet_toml("lyon-7", &seed));
    assert_eq!(run(&mut places), FirstBoot::Enrolled);
    assert_eq!(places.identity.as_ref().expect("an identity").seed, seed);
    assert!(!places.files.contains_key(&Place::FleetToml));
    assert_eq!(places.files[&Place::HostName], b"lyon-7\n");
    assert_eq!(places.host_name, "lyon-7");
    let registries = String::from_utf8_lossy(&places.files[&Place::Registries]).into_owned();
    assert!(
        registries.contains("location = \"10.0.2.100:5000\"\ninsecure = true"),
        "{registries}"
    );
}

#[test]
fn later_boot_writes_nothing() {
    let mut places = enrolled("a");
    assert_eq!(run(&mut places), FirstBoot::Enrolled);
    assert_eq!(places.writes, 0);
}

#[test]
fn power_cut_at_each_write_of_an_enrolment_ends_in_the_same_identity() {
    let text = fleet_toml("a", &seed());
    let whole = {
        let mut places = FakePlaces::with_file(&text);
        places.files.insert(Place::FleetError, b"old".to_vec());
        run(&mut places);
        places
    };
    assert!(whole.writes >= 5, "only {} writes were seen", whole.writes);
    for cut in 0..whole.writes {
        let mut places = FakePlaces {
            power: Some(cut),
            ..FakePlaces::with_file(&text)
        };
        places.files.insert(Place::FleetError, b"old".to_vec());
        first_boot(&mut places).expect_err("the cut");
        places.power = None;
        assert_eq!(
            run(&mut places),
            FirstBoot::Enrolled,
            "after a cut at write {cut}"
        );
        // A file that is half wiped is told of at that boot; the next takes the note away.
        run(&mut places);
        assert_eq!(
            (&places.identity, &places.files),
            (&whole.identity, &whole.files),
            "cut at write {cut}"
        );
    }
}

#[test]
fn secret_stays_on_fat_until_it_is_stored() {
    let text = fleet_toml("a", &seed());
    let mut places = FakePlaces {
        power: Some(0),
        ..FakePlaces::with_file(&text)
    };
    first_boot(&mut places).expect_err("the cut");
    assert_eq!(places.files[&Place::FleetToml], text.as_bytes());
}

#[test]
fn torn_file_on_an_enrolled_device_is_wiped_and_told_of() {
    let mut places = enrolled("a");
    let before = places.identity.clone();
    places.said.clear();
    places
        .files
        .insert(Place::FleetToml, b"device_id = \"a\0\0\0".to_vec());
    assert_eq!(run(&mut places), FirstBoot::Enrolled);
    assert!(!places.files.contains_key(&Place::FleetToml));
    assert_eq!(places.identity, before);
    let error = places.error().expect("an error file");
    assert!(error.contains("identity is unchanged; copy it again"), "{error}");
    assert_eq!(places.said, [error.trim_end()]);
    run(&mut places);
    assert_eq!(places.error(), None);
}

#[test]
fn torn_file_is_told_of_though_the_power_goes_before_it_is_wiped() {
    for cut in 0..2 {
        let mut places = enrolled("a");
        places
            .files
            .insert(Place::FleetToml, b"device_id = \"a\0\0\0".to_vec());
        places.power = Some(cut);
        first_boot(&mut places).expect_err("the cut");
        places.power = None;
        assert_eq!(run(&mut places), FirstBoot::Enrolled);
        assert!(!places.files.contains_key(&Place::FleetToml) && places.error().is_some());
    }
}

#[test]
fn wholly_wiped_file_on_an_enrolled_device_goes_without_a_word() {
    let mut places = enrolled("a");
    places.said.clear();
    places.files.insert(Place::FleetToml, vec![0; 300]);
    assert_eq!(run(&mut places), FirstBoot::Enrolled);
    assert!(!places.files.contains_key(&Place::FleetToml) && places.error().is_none());
    assert_eq!(places.said, Vec::<String>::new());
}

#[test]
fn new_credential_for_the_same_device_replaces_the_old() {
    let mut places = enrolled("a");
    let new = seed();
    places
        .files
        .insert(Place::FleetToml, fleet_toml("a", &new).into());
    assert_eq!(run(&mut places), FirstBoot::Enrolled);
    assert_eq!(places.identity.expect("an identity").seed, new);
}

#[test]
fn file_for_another_device_is_refused_and_the_device_stays_who_it_is() {
    let mut places = enrolled("a");
    let before = places.identity.clone();
    places
        .files
        .insert(Place::FleetToml, fleet_toml("b", &seed()).into());
    assert_eq!(run(&mut places), FirstBoot::Refused);
    assert_eq!(places.identity, before);
    assert!(places.files.contains_key(&Place::FleetToml));
    let error = places.error().expect("an error file");
    assert!(
        error.contains("`b`") && error.contains("flash it anew"),
        "{error}"
    );
}

#[test]
fn bad_file_leaves_the_same_reason_on_fat_and_console() {
    let mut places = FakePlaces::with_file("device_id = 5\n");
    assert_eq!(run(&mut places), FirstBoot::Refused);
    let error = places.error().expect("an error file");
    assert!(error.contains("line 1, column 13"), "{error}");
    assert_eq!(places.said, [error.trim_end()]);
    assert!(places.files.contains_key(&Place::FleetToml));
}

#[test]
fn corrected_file_removes_the_reason() {
    let mut places = FakePlaces::with_file("oops");
    run(&mut places);
    places
        .files
        .insert(Place::FleetToml, fleet_toml("a", &seed()).into());
    assert_eq!(run(&mut places), FirstBoot::Enrolled);
    assert_eq!(places.error(), None);
}

#[test]
fn device_without_identity_and_file_says_what_to_do() {
    let mut places = FakePlaces::default();
    assert_eq!(run(&mut places), FirstBoot::Refused);
    assert!(
        places
            .error()
            .expect("an error file")
            .contains("Put fleet.toml on this partition")
    );
}

#[test]
fn missing_partition_does_not_stop_an_enrolled_device() {
    let mut places = enrolled("a");
    places.no_fat = true;
    assert_eq!(run(&mut places), FirstBoot::Enrolled);
    let mut fresh = FakePlaces {
        no_fat: true,
        ..FakePlaces::default()
    };
    assert_eq!(run(&mut fresh), FirstBoot::Refused);
    assert!(
        fresh
            .said
            .iter()
            .any(|line| line.contains("FLEETBOOT could not be mounted"))
    );
}

#[test]
fn registries_lost_with_a_rolled_back_system_come_back() {
    let mut places = enrolled("a");
    places.files.remove(&Place::Registries);
    places.files.insert(Place::HostName, b"fleet-device\n".to_vec());
    run(&mut places);
    assert!(places.files.contains_key(&Place::Registries));
    assert_eq!(places.files[&Place::HostName], b"a\n");
}

#[test]
fn time_servers_of_the_site_are_asked_by_the_system_too() {
    let with = |servers: &str| format!("{}[clock]\nservers = {servers}\n", fleet_toml("a", &seed()));
    let mut places = FakePlaces::with_file(&with(
        "[\"ntp.lyon.example.com\", \"10.0.0.1:1123\", \"10.0.0.2\"]",
    ));
    run(&mut places);
    let file = String::from_utf8_lossy(&places.files[&Place::TimeServers]).into_owned();
    assert!(
        file.ends_with("[Time]\nNTP=ntp.lyon.example.com 10.0.0.2\n"),
        "{file}"
    );
    run(&mut places);
    assert_eq!(places.time_client_restarts, 1, "only when something changed");

    places.files.insert(Place::FleetToml, with("[]").into());
    run(&mut places);
    assert!(
        !places.files.contains_key(&Place::TimeServers),
        "Debian's own again"
    );
    assert_eq!(places.time_client_restarts, 2);
}

/// Negative control: the cuts above would find the wrong order.
#[test]
fn wiping_before_storing_would_lose_the_secret() {
    let text = fleet_toml("a", &seed());
    let mut places = FakePlaces {
        power: Some(1),
        ..FakePlaces::with_file(&text)
    };
    let identity = read_identity(text.as_bytes()).expect("an identity");
    places.wipe_fleet_toml().expect("a wipe");
    places.store_identity(&identity).expect_err("the cut");
    places.power = None;
    assert_eq!(run(&mut places), FirstBoot::Refused);
}
