//! What a device is told to do for a network: which tasks, in which buffers, and for how long each is needed.

#[path = "support/networks.rs"]
mod networks;
#[path = "support/random_graph.rs"]
mod random_graph;

use foolproof::kernel::graph::{Activation, Graph, Op, Window};
use foolproof::kernel::schedule::{At, Room, Schedule, Slot, Task, Work};
use networks::Net;

fn schedule(graph: &Graph<f64>) -> Schedule {
    let (folded, _) = graph.to_f32().folded();
    let mut kept = 0;
    let mut keep = |_: &[f32], _| {
        kept += 1;
        Ok(kept - 1)
    };
    Schedule::new(&folded, &mut keep).unwrap()
}

fn find(name: &str) -> Schedule {
    schedule(&networks::all().into_iter().find(|(n, _)| *n == name).unwrap().1)
}

fn count(tasks: &[Task], fits: impl Fn(&Task) -> bool) -> usize {
    tasks.iter().filter(|task| fits(task)).count()
}

/// First and last task of each buffer, from the first task forward to the last one back.
fn lives(schedule: &Schedule) -> Vec<Option<(usize, usize)>> {
    let mut lives: Vec<Option<(usize, usize)>> = vec![None; schedule.rooms.len()];
    for (time, task) in schedule.forward.iter().chain(&schedule.backward).enumerate() {
        for slot in task.slots() {
            let first = lives[slot].map_or(time, |(first, _)| first);
            lives[slot] = Some((first, time));
        }
    }
    lives
}

#[test]
fn buffers_that_are_needed_together_lie_apart() {
    let random = (0..100).map(random_graph::random);
    for graph in networks::all().into_iter().map(|(_, graph)| graph).chain(random) {
        let schedule = schedule(&graph);
        let lives = lives(&schedule);
        for of_number in [2, 4] {
            let (places, all) = schedule.places(of_number);
            let bytes = |slot: Slot| schedule.rooms[slot].bytes(of_number);
            for (a, life) in lives.iter().enumerate() {
                let Some((from, to)) = life else { continue };
                assert!(places[a] % 256 == 0 && places[a] + bytes(a) <= all);
                for (b, other) in lives.iter().enumerate().skip(a + 1) {
                    let together = other.is_some_and(|(begin, end)| *from <= end && begin <= *to);
                    let apart = places[a] + bytes(a) <= places[b] || places[b] + bytes(b) <= places[a];
                    assert!(!together || apart, "buffers {a} and {b} of {graph:?}");
                }
            }
        }
    }
}

#[test]
fn a_sequence_needs_two_maps_and_the_bits_of_its_relus() {
    let mut net = Net::new([16, 16], 1);
    let mut x = 0;
    for width in [16, 16, 16] {
        x = net.conv(x, width, Window::square(3, 1, 1), 1);
        x = net.activate(x, Activation::Relu);
    }
    x = net.push(Op::MaxPool { window: Window::square(2, 2, 0), ceil: false }, &[x]);
    x = net.flat(x);
    net.linear(x, 10);
    let schedule = schedule(&net.graph);
    let kinds: Vec<&str> = schedule.forward.iter().map(kind).collect();
    // bias and ReLU in place, those before the pool with it; nothing is moved to make a vector of a map
    assert_eq!(kinds, ["images", "conv", "finish", "conv", "finish", "conv", "pool", "product", "finish", "logits"]);
    let kinds: Vec<&str> = schedule.backward.iter().map(kind).collect();
    assert_eq!(kinds, ["logits", "product", "pool", "conv", "finish", "conv", "finish", "conv", "images"]);
    // where the map of the last convolution becomes a gradient, the pool's bits and corners are gone
    assert_eq!(schedule.places(4).1, 2 * 16 * 16 * 16 * 4 + 2 * 16 * 16 * 16 / 8);
}

/// A name for either direction of a task.
fn kind(task: &Task) -> &'static str {
    match task {
        Task::Images(_) | Task::ImageGradient(_) => "images",
        Task::Logits(_) | Task::Seed(_) => "logits",
        Task::Clear(_) => "clear",
        Task::Contract(_) => "contract",
        Task::Product(_) => "product",
        Task::Forward(work, ..) | Task::Back(work, ..) => match work {
            Work::Conv(_) => "conv",
            Work::Finish(..) => "finish",
            Work::Pool(..) => "pool",
            Work::MaxPool(..) => "max-pool",
            Work::Average(..) => "average",
            Work::Softmax(..) => "softmax",
            Work::Norm(..) => "norm",
        },
    }
}

/// Whole values that the way forward leaves to the way back.
fn kept_numbers(schedule: &Schedule) -> usize {
    let ahead = schedule.forward.len();
    let is_number = |slot: usize| matches!(schedule.rooms[slot], Room::Numbers(_));
    let crosses = |life: &Option<(usize, usize)>| life.is_some_and(|(from, to)| from < ahead && to >= ahead);
    lives(schedule).iter().enumerate().filter(|(slot, life)| is_number(*slot) && crosses(life)).count()
}

#[test]
fn residual_sums_cost_nothing_of_their_own() {
    for name in ["resnet", "bottlenecks"] {
        let schedule = find(name);
        let moves = |tasks: &[Task]| count(tasks, |task| matches!(task, Task::Contract(_) | Task::Clear(_)));
        assert_eq!((moves(&schedule.forward), moves(&schedule.backward)), (0, 0), "{name}");
        // each convolution is followed by one finish, or by none where its bias waits for the sum
        let sums = count(
            &schedule.forward,
            |task| matches!(task, Task::Forward(Work::Finish(finish, _), ..) if finish.other.is_some()),
        );
        assert_eq!(sums, 3, "{name}");
        let biases = count(
            &schedule.forward,
            |task| matches!(task, Task::Forward(Work::Finish(finish, _), ..) if finish.function.is_none()),
        );
        // that of the logits
        assert_eq!(biases, 1, "{name}");
        assert_eq!(kept_numbers(&schedule), 0, "{name}");
        // the gradient of a block's input is summed by the convolution that leads back to it
        let adds = count(&schedule.backward, |task| matches!(task, Task::Back(Work::Conv(_), _, _, true)));
        assert_eq!(adds, 3, "{name}");
    }
}

#[test]
fn what_the_way_back_needs_is_kept_and_nothing_else() {
    for name in ["vgg", "squeezenet", "densenet", "shuffled groups"] {
        assert_eq!(kept_numbers(&find(name)), 0, "{name}");
    }
    // what each SiLU reads: of four blocks the sum before and the convolution between, and the last sum
    assert_eq!(kept_numbers(&find("wide and silu")), 9);
    // of two blocks what both norms read, queries with keys and values, weights of the softmax, and what GELU reads; what
    // the last norm reads
    assert_eq!(kept_numbers(&find("vit")), 2 * 5 + 1);
    // a norm and its function before a convolution read the value where it is
    let schedule = find("densenet");
    let moves = count(&schedule.forward, |task| matches!(task, Task::Contract(_)));
    assert_eq!(moves, 2 * 3 * 2, "two parts of each concatenation");
}

#[test]
fn tokens_are_the_map_itself() {
    let schedule = find("vit");
    let moved = |task: &&Task| matches!(task, Task::Contract(contract) if !matches!(contract.at.1, At::Weight(_)));
    // patches behind the class token, and the class token at the end
    assert_eq!(schedule.forward.iter().filter(moved).count(), 2);
    // a product a linear layer, and two a head in either block
    assert_eq!(count(&schedule.forward, |task| matches!(task, Task::Product(_))), 2 * (4 + 2 * 3) + 1);
}
