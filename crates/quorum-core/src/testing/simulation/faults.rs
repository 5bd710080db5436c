//! What may go wrong in a run, and how often.

use std::time::Duration;

/// How a run is made: what its members suffer, and for how long.
///
/// Everything is drawn from the seed within these bounds; [`Faults::default`] is what a campaign uses.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Faults {
    /// Shortest and longest time in which clients write and faults happen.
    pub span: (Duration, Duration),
    /// Meshes of so many members, one of them a run.
    pub members: Vec<usize>,
    /// Shortest and longest pause from one fault to the next; a run draws its own longest within.
    pub pause: (Duration, Duration),
    /// Whether members are killed and lose power.
    pub crashes: bool,
    /// Whether ways between members are cut, in one direction or both.
    pub cuts: bool,
    /// Whether the network loses, delays and breaks connections.
    pub bad_network: bool,
    /// Whether disks are slow and fail.
    pub bad_disks: bool,
    /// Whether a minority of disks may lie or be lost, of subjects that bear it.
    pub lost_disks: bool,
    /// Whether wall clocks step and drift: how far at most.
    pub clock_step_max: Duration,
    /// Whether replies come twice, from strangers, and as "drift".
    pub hostile_replies: bool,
    /// How long after healing everything may take to be alike everywhere.
    pub convergence_max: Duration,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            span: (Duration::from_secs(60), Duration::from_secs(300)),
            members: vec![3, 3, 3, 5, 5, 4],
            pause: (Duration::from_millis(200), Duration::from_secs(20)),
            crashes: true,
            cuts: true,
            bad_network: true,
            bad_disks: true,
            lost_disks: true,
            clock_step_max: Duration::from_secs(100),
            hostile_replies: true,
            convergence_max: Duration::from_secs(10),
        }
    }
}
