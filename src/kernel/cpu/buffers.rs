//! Which memory each map lies in: as few buffers as do, since a map is needed only from when it is written to when it is
//! read last.

use super::map::Layout;

/// A map on its way through the program. Time counts units on the way forward, and on from there on the way back.
#[derive(Debug, Clone)]
pub struct Use {
    pub layout: Layout,
    /// Whether gradients go to it through a pool: of an odd side its last row and column are never written and must stay 0.
    pub unpooled: bool,
    /// When it is written, and by a unit of which stage.
    born: (usize, usize),
    /// When it is read last.
    last: usize,
    /// Whether units of another stage read it, so that it outlives units that are computed again in between.
    crosses: bool,
}

/// All maps of a program, and the time between forward and back.
pub struct Uses {
    turn: usize,
    all: Vec<Use>,
}

impl Uses {
    /// None yet, of a program of so many units.
    pub fn new(units: usize) -> Uses {
        Uses { turn: units, all: Vec::new() }
    }

    /// A map that is written at this time by a unit of this stage.
    pub fn write(&mut self, layout: Layout, unpooled: bool, time: usize, stage: usize) -> usize {
        self.all.push(Use { layout, unpooled, born: (time, stage), last: time, crosses: false });
        self.all.len() - 1
    }

    /// It is written or read once more.
    pub fn touch(&mut self, map: usize, time: usize, stage: usize) {
        let found = &mut self.all[map];
        found.last = found.last.max(time);
        found.crosses |= stage != found.born.1;
    }

    /// Layout of a map.
    pub fn layout(&self, map: usize) -> Layout {
        self.all[map].layout
    }

    /// From when to when a map must be left alone. Earlier stages are computed again for other images until a map of theirs
    /// is read by a later one: on the way forward all that is before, on the way back all that is behind.
    fn life(&self, map: usize) -> (usize, usize) {
        let Use { born: (born, _), last, crosses, .. } = self.all[map];
        match (crosses, born < self.turn) {
            (false, _) => (born, last),
            (true, true) => (0, last),
            (true, false) => (born, usize::MAX),
        }
    }

    /// Buffer of each map, and the layout of each buffer.
    pub fn assign(&self) -> (Vec<usize>, Vec<Layout>) {
        let mut order: Vec<usize> = (0..self.all.len()).collect();
        order.sort_by_key(|map| self.life(*map).0);
        let mut of_map = vec![0; self.all.len()];
        // layout, kind, and when it is free
        let mut buffers: Vec<(Layout, bool, usize)> = Vec::new();
        for map in order {
            let (Use { layout, unpooled, .. }, (born, last)) = (&self.all[map], self.life(map));
            let free = |b: &(Layout, bool, usize)| b.0 == *layout && b.1 == *unpooled && b.2 < born;
            of_map[map] = buffers.iter().position(free).unwrap_or_else(|| {
                buffers.push((*layout, *unpooled, 0));
                buffers.len() - 1
            });
            buffers[of_map[map]].2 = last;
        }
        (of_map, buffers.into_iter().map(|(layout, ..)| layout).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_that_live_at_the_same_time_share_nothing() {
        let mut uses = Uses::new(6);
        let layout = Layout::new(16, [4, 4], true, 2);
        let maps: Vec<usize> = [(0, 0), (1, 0), (2, 0), (3, 1)]
            .into_iter()
            .map(|(time, stage)| uses.write(layout, false, time, stage))
            .collect();
        uses.touch(maps[0], 1, 0);
        uses.touch(maps[1], 2, 0);
        // read by the next stage: what is computed again meanwhile must not overwrite it
        uses.touch(maps[2], 3, 1);
        uses.touch(maps[3], 5, 1);
        let back = uses.write(layout, false, 7, 1);
        uses.touch(back, 9, 0);
        let behind = uses.write(layout, false, 10, 0);
        let (of, layouts) = uses.assign();
        assert_ne!(of[maps[0]], of[maps[1]]);
        assert_ne!(of[maps[2]], of[maps[0]]);
        assert_ne!(of[maps[2]], of[maps[1]]);
        assert_ne!(of[back], of[behind]);
        assert!(layouts.len() <= 3, "{of:?}");
    }
}
