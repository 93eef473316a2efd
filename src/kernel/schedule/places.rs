//! Where buffers lie: as long as one is needed nobody else has its place, and no longer.

use super::{Room, Schedule};

/// Buffers begin at multiples of this many bytes an image, which suits every access of a kernel or library.
const ALIGNMENT: usize = 256;

impl Room {
    /// Bytes of an image, where a number has so many.
    pub fn bytes(self, of_number: usize) -> usize {
        let bytes = match self {
            Room::Numbers(numbers) => numbers * of_number,
            Room::Bytes(bytes) => bytes,
        };
        bytes.next_multiple_of(ALIGNMENT)
    }
}

impl Schedule {
    /// Numbers of the largest value of an image.
    pub fn largest(&self) -> usize {
        let numbers = |room: &Room| match room {
            Room::Numbers(n) => *n,
            Room::Bytes(_) => 1,
        };
        self.rooms.iter().map(numbers).max().unwrap_or(1)
    }

    /// First byte of each buffer, and how many there are in all, of one image: both times the number of images. A number has
    /// so many bytes.
    pub fn places(&self, of_number: usize) -> (Vec<usize>, usize) {
        let lives = self.lives();
        let sizes: Vec<usize> = self.rooms.iter().map(|room| room.bytes(of_number)).collect();
        // the largest first: the small ones find gaps
        let mut order: Vec<usize> = (0..sizes.len()).filter(|slot| lives[*slot].is_some()).collect();
        order.sort_by_key(|slot| (std::cmp::Reverse(sizes[*slot]), *slot));
        let (mut places, mut placed) = (vec![0; sizes.len()], Vec::<usize>::new());
        for slot in order {
            let together = |other: &&usize| match (lives[slot], lives[**other]) {
                (Some((from, to)), Some((begin, end))) => from <= end && begin <= to,
                _ => false,
            };
            let mut taken: Vec<(usize, usize)> =
                placed.iter().filter(together).map(|o| (places[*o], places[*o] + sizes[*o])).collect();
            taken.sort_unstable();
            let mut place = 0;
            for (begin, end) in taken {
                if place + sizes[slot] <= begin {
                    break;
                }
                place = place.max(end);
            }
            places[slot] = place;
            placed.push(slot);
        }
        let all = placed.iter().map(|slot| places[*slot] + sizes[*slot]).max().unwrap_or(0);
        (places, all)
    }

    /// The first and the last task that needs each buffer, counted from the first task forward to the last one back.
    fn lives(&self) -> Vec<Option<(usize, usize)>> {
        let mut lives: Vec<Option<(usize, usize)>> = vec![None; self.rooms.len()];
        for (time, task) in self.forward.iter().chain(&self.backward).enumerate() {
            for slot in task.slots() {
                lives[slot] = Some((lives[slot].map_or(time, |(first, _)| first), time));
            }
        }
        lives
    }
}
