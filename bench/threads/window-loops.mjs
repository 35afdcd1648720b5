// Loops of hits that are made by the arrays of a window, as docs/API.md shows.
import { createTlbWindow } from 'mmdump';

/** The arrays are constants of the function that this returns: V8 puts their addresses into its code. */
function loadLoop({ loads, words, now, since }, at, mask) {
  return (state, times) => {
    let { turn, sum } = state;
    for (; turn < times; turn++) {
      const address = at + ((turn * 4) & mask);
      const entry = loads[address >>> 12];
      if (entry === 0 || now[0] !== since[0]) break;
      sum = (sum + words[(address + entry) >>> 2]) | 0;
    }
    state.turn = turn;
    state.sum = sum;
  };
}

function storeLoop({ stores, words, now, since }, at, mask) {
  return (state, times) => {
    let { turn } = state;
    for (; turn < times; turn++) {
      const address = at + ((turn * 4) & mask);
      const entry = stores[address >>> 12];
      if (entry === 0 || now[0] !== since[0]) break;
      words[(address + entry) >>> 2] = turn;
    }
    state.turn = turn;
  };
}

/** Makes a function that loads or stores so often. All pages lie in the bank of the window. */
export function onWindow(mm, { at, mask, access }) {
  const window = createTlbWindow(mm, at);
  const loop = (access === 'write' ? storeLoop : loadLoop)(window, at, mask);
  return (times) =>
    mm.inside(() => {
      const state = { turn: 0, sum: 0 };
      for (;;) {
        window.enter();
        loop(state, times);
        if (state.turn === times) return state.sum === 1 ? times + 1 : times;
        window.fill(at + ((state.turn * 4) & mask), access);
      }
    });
}
