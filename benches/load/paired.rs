//! What encryption costs, finer than this machine's noise: three gateways run beside each other, two plain
//! ones and an encrypted one, and take the load in short turns, in each order as often. The encrypted one's
//! turn is compared with the mean of the plain ones' of the same round, and of all those ratios the median is
//! told; the two plain ones compared with each other show what the method cannot tell apart.

use std::time::Duration;

use crate::generator::{self, Load, Until};
use crate::hookward::Hookward;
use crate::{Options, Result};

/// Long enough for thousands of acks, short enough that the machine does not change meanwhile.
const TURN: Duration = Duration::from_millis(250);
/// So that none always follows the same one, nor is always the first.
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [2, 1, 0], [1, 2, 0], [0, 2, 1], [2, 0, 1], [1, 0, 2]];
const NAMES: [&str; 3] = ["plain", "plain again", "encrypted"];

/// One gateway's turn.
#[derive(Clone, Copy)]
struct Turn {
    rate: f64,
    /// Seconds of the process's CPU time.
    cpu: f64,
    acked: u64,
}

/// Measures at each connection count, for as many rounds as there are seconds times `rounds`.
pub(crate) async fn run(options: &Options) -> Result<()> {
    let mut gateways = Vec::new();
    for name in NAMES {
        let mut gateway = Hookward::new(&options.store.join(name), &options.log, None)?;
        if name == "encrypted" {
            gateway.encrypt()?;
        }
        gateway.start().await?;
        gateways.push(gateway);
    }
    let rounds = options.seconds * u64::from(options.rounds);
    println!(
        "\n{:>11}  {:<12} {:>9} {:>11}   throughput beside the plain ones: median (95 % of it)",
        "connections", "gateway", "acks/s", "CPU us/ack"
    );
    for &connections in options.connection_counts() {
        let mut turns: [Vec<Turn>; 3] = Default::default();
        for (round, order) in (0..rounds).zip(ORDERS.iter().cycle()) {
            for &which in order {
                let turn = take(&mut gateways[which], connections).await?;
                // The first round is for queues, caches and pages to be warm.
                if round > 0 {
                    turns[which].push(turn);
                }
            }
        }
        let [plain, again, encrypted] = &turns;
        let both: Vec<f64> =
            plain.iter().zip(again).map(|(a, b)| (a.rate + b.rate) / 2.0).collect();
        let first: Vec<f64> = plain.iter().map(|turn| turn.rate).collect();
        print(connections, NAMES[0], plain, &first);
        print(connections, NAMES[1], again, &first);
        print(connections, NAMES[2], encrypted, &both);
    }
    gateways.into_iter().try_for_each(Hookward::remove)
}

async fn take(gateway: &mut Hookward, connections: usize) -> Result<Turn> {
    let before = gateway.process()?.cpu_time()?;
    let until = Until::Time { warm_up: Duration::ZERO, measured: TURN };
    let outcome = generator::run(Load::new(gateway.public(), connections, until)).await?;
    outcome.check()?;
    let cpu = (gateway.process()?.cpu_time()? - before).as_secs_f64();
    Ok(Turn { rate: outcome.rate(), cpu, acked: outcome.acked })
}

fn print(connections: usize, name: &str, turns: &[Turn], beside: &[f64]) {
    let count = turns.len().max(1) as f64;
    let rate = turns.iter().map(|turn| turn.rate).sum::<f64>() / count;
    let acked = turns.iter().map(|turn| turn.acked).sum::<u64>().max(1) as f64;
    let cpu = turns.iter().map(|turn| turn.cpu).sum::<f64>() * 1e6 / acked;
    let mut ratios: Vec<f64> = turns.iter().zip(beside).map(|(a, b)| a.rate / b).collect();
    ratios.sort_by(f64::total_cmp);
    let (low, middle, high) = median(&ratios);
    println!(
        "{connections:>11}  {name:<12} {rate:>9.0} {cpu:>11.2}   {middle:.3} ({low:.3} to {high:.3})"
    );
}

/// The median of sorted values, between the bounds that it has in 95 of 100 such samples: the ranks at
/// which a fair coin's count lies.
fn median(sorted: &[f64]) -> (f64, f64, f64) {
    let (count, middle) = (sorted.len() as f64, sorted.len() / 2);
    let half = 0.98 * count.sqrt();
    let low = (count / 2.0 - half).floor().max(0.0) as usize;
    let high = (count / 2.0 + half).ceil() as usize;
    let at = |rank: usize| sorted.get(rank.min(sorted.len().saturating_sub(1))).copied();
    (at(low).unwrap_or(0.0), at(middle).unwrap_or(0.0), at(high).unwrap_or(0.0))
}
