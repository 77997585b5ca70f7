//! Several answers, of which some may be wrong: what most of them say.

/// What one server answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Milliseconds by which the server is ahead of the device; negative when it is behind.
    pub offset_millis: i64,
    /// Milliseconds by which that can be off: half the round trip, and what the server says of its own distance to
    /// a reference.
    pub error_millis: u64,
}

/// What the answers say together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// More than half of them agree.
    Agreed {
        /// The median of those that do.
        offset_millis: i64,
        /// Milliseconds by which that can be off: the smallest error among them.
        error_millis: u64,
        /// How many do.
        agreeing: usize,
        /// How many do not, and were not counted.
        dropped: usize,
    },
    /// There is no such majority.
    Contradiction {
        /// How many answered.
        answers: usize,
    },
    /// There is no answer.
    Silence,
}

/// Two servers that are both right differ by their errors, and by what neither knows of its way: an asymmetric route,
/// a busy device that reads the answer late.
const SLACK_MILLIS: u64 = 500;

/// Finds the majority: the largest group whose intervals share a point (after Marzullo, as RFC 5905 does it in section
/// 11.2.1), if it is more than half of all. What lies outside is a falseticker and is dropped.
#[must_use]
pub fn weigh(answers: &[Answer]) -> Finding {
    let Some(best) = answers
        .iter()
        .map(|answer| group_at(low(answer), answers))
        .max_by_key(Vec::len)
    else {
        return Finding::Silence;
    };
    if best.len() * 2 <= answers.len() {
        return Finding::Contradiction {
            answers: answers.len(),
        };
    }
    Finding::Agreed {
        offset_millis: median(&best),
        error_millis: best
            .iter()
            .map(|answer| answer.error_millis)
            .min()
            .unwrap_or_default(),
        agreeing: best.len(),
        dropped: answers.len() - best.len(),
    }
}

/// As [`weigh`], where a server may have answered from several addresses: it is one voice, that of most of its addresses. A name with
/// many of them must not outvote the others, and one whose addresses contradict each other has no voice.
#[must_use]
pub fn weigh_servers<'a>(servers: impl IntoIterator<Item = &'a [Answer]>) -> Finding {
    let mut voices = Vec::new();
    let mut contradicting = 0;
    for answers in servers {
        match weigh(answers) {
            Finding::Agreed {
                offset_millis,
                error_millis,
                ..
            } => voices.push(Answer {
                offset_millis,
                error_millis,
            }),
            Finding::Contradiction { answers } => contradicting += answers,
            Finding::Silence => {}
        }
    }
    match weigh(&voices) {
        Finding::Silence if contradicting > 0 => Finding::Contradiction {
            answers: contradicting,
        },
        finding => finding,
    }
}

/// The answers whose interval holds `point`. The largest group shares a point that is the low end of one of its members, so
/// that trying those is enough.
fn group_at(point: i64, answers: &[Answer]) -> Vec<Answer> {
    let holds = |answer: &&Answer| low(answer) <= point && point <= high(answer);
    answers.iter().filter(holds).copied().collect()
}

fn reach(answer: &Answer) -> u64 {
    answer.error_millis.saturating_add(SLACK_MILLIS)
}

fn low(answer: &Answer) -> i64 {
    answer.offset_millis.saturating_sub_unsigned(reach(answer))
}

fn high(answer: &Answer) -> i64 {
    answer.offset_millis.saturating_add_unsigned(reach(answer))
}

/// Of an even number the one of the middle two that is nearer to zero: neither is better, and a refusal needs certainty.
fn median(group: &[Answer]) -> i64 {
    let mut sorted: Vec<i64> = group.iter().map(|answer| answer.offset_millis).collect();
    sorted.sort_unstable();
    let middle = &sorted[(sorted.len() - 1) / 2..=sorted.len() / 2];
    middle
        .iter()
        .copied()
        .min_by_key(|offset| offset.saturating_abs())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answer(offset_millis: i64) -> Answer {
        Answer {
            offset_millis,
            error_millis: 20,
        }
    }

    fn weigh_offsets(offsets: &[i64]) -> Finding {
        weigh(&offsets.iter().copied().map(answer).collect::<Vec<_>>())
    }

    #[test]
    fn the_median_of_the_majority_counts_and_a_liar_does_not() {
        let agreed = |offset_millis, agreeing, dropped| Finding::Agreed {
            offset_millis,
            error_millis: 20,
            agreeing,
            dropped,
        };
        assert_eq!(weigh_offsets(&[]), Finding::Silence);
        assert_eq!(weigh_offsets(&[300_000]), agreed(300_000, 1, 0));
        assert_eq!(weigh_offsets(&[12, -300_000, 18, 15]), agreed(15, 3, 1));
        assert_eq!(weigh_offsets(&[-4, 6]), agreed(-4, 2, 0));
        assert_eq!(
            weigh_offsets(&[0, 300_000]),
            Finding::Contradiction { answers: 2 }
        );
        assert_eq!(
            weigh_offsets(&[0, 10, 300_000, 300_010]),
            Finding::Contradiction { answers: 4 }
        );
    }

    #[test]
    fn a_server_that_admits_to_know_little_agrees_with_all_and_moves_nobody() {
        let vague = Answer {
            offset_millis: 9_000,
            error_millis: 12_000,
        };
        let found = weigh(&[vague, answer(100), answer(120)]);
        assert_eq!(
            found,
            Finding::Agreed {
                offset_millis: 120,
                error_millis: 20,
                agreeing: 3,
                dropped: 0
            }
        );
    }

    #[test]
    fn a_name_with_many_addresses_is_one_voice() {
        let many = [answer(300_000); 4];
        let (one, other) = ([answer(5)], [answer(7)]);
        let found = weigh_servers([&many[..], &one, &other]);
        assert!(
            matches!(
                found,
                Finding::Agreed {
                    offset_millis: 5,
                    agreeing: 2,
                    dropped: 1,
                    ..
                }
            ),
            "{found:?}"
        );
        assert_eq!(
            weigh_servers([&many[..], &one]),
            Finding::Contradiction { answers: 2 }
        );
        let torn = [answer(0), answer(300_000)];
        assert_eq!(weigh_servers([&torn[..]]), Finding::Contradiction { answers: 2 });
        let found = weigh_servers([&torn[..], &one, &[]]);
        assert!(
            matches!(
                found,
                Finding::Agreed {
                    agreeing: 1,
                    dropped: 0,
                    ..
                }
            ),
            "{found:?}"
        );
        assert_eq!(weigh_servers([&[][..]]), Finding::Silence);
    }

    proptest! {
        /// However the others lie, the majority's own offsets bound what is found.
        #[test]
        fn liars_in_the_minority_cannot_move_the_finding(
            honest in prop::collection::vec(-400_i64..400, 1..8),
            lies in prop::collection::vec(any::<i64>(), 0..7),
            place in any::<u64>(),
        ) {
            let lies = &lies[..lies.len().min(honest.len() - 1)];
            let mut all: Vec<i64> = honest.iter().chain(lies).copied().collect();
            let turn = usize::try_from(place % all.len() as u64).unwrap_or(0);
            all.rotate_left(turn);
            let Finding::Agreed { offset_millis, agreeing, .. } = weigh_offsets(&all) else {
                return Err(TestCaseError::fail("there is a majority"));
            };
            prop_assert!(agreeing >= honest.len());
            // A lie that lies within reach of all honest ones is one of them.
            prop_assert!(offset_millis.abs() <= 400 + 2 * 520, "{offset_millis}");
        }

        #[test]
        fn nothing_panics_and_order_does_not_matter(mut offsets in prop::collection::vec(any::<i64>(), 0..12), error in any::<u64>()) {
            let weigh_all = |offsets: &[i64]| {
                let answers: Vec<_> = offsets.iter().map(|offset| Answer { offset_millis: *offset, error_millis: error }).collect();
                weigh(&answers)
            };
            let found = weigh_all(&offsets);
            offsets.reverse();
            let again = weigh_all(&offsets);
            let size = |finding: &Finding| match *finding {
                Finding::Agreed { agreeing, .. } => Some(agreeing),
                Finding::Contradiction { .. } | Finding::Silence => None,
            };
            prop_assert_eq!(size(&found), size(&again));
        }
    }
}
