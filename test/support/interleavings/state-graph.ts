/** Checks over a whole graph of states: every run must come to an end. */

export interface Edges {
  readonly from: number[];
  readonly to: number[];
  /** 1 when the step changed shared memory. */
  readonly changes: number[];
}

/**
 * Finds a set of states that threads may go round in for ever, either by changing memory again and
 * again (for example by waking each other without end), or because no step leads out. A spinning
 * thread also goes round, but it only reads, and another thread's step leads out.
 */
export function findLivelock(
  states: number,
  edges: Edges,
): { what: string; state: number } | undefined {
  const start = groupByFrom(states, edges);
  const component = components(states, start);
  const count = edges.from.length;
  const leaves = new Uint8Array(states);
  const turns = new Uint8Array(states);
  for (let edge = 0; edge < count; edge++) {
    const from = edges.from[edge]!;
    const to = edges.to[edge]!;
    const mine = component[from]!;
    if (mine !== component[to]) leaves[mine] = 1;
    else if (edges.changes[edge] === 1) return { what: 'livelock: no end of changes', state: to };
    else turns[mine] = 1;
  }
  for (let state = 0; state < states; state++) {
    const mine = component[state]!;
    if (turns[mine] === 1 && leaves[mine] === 0) return { what: 'livelock: spins for ever', state };
  }
  return undefined;
}

interface Grouped {
  readonly first: Int32Array; // edges of state s: targets[first[s] .. first[s + 1])
  readonly targets: Int32Array;
}

function groupByFrom(states: number, { from, to }: Edges): Grouped {
  const first = new Int32Array(states + 1);
  for (const state of from) first[state + 1]!++;
  for (let state = 0; state < states; state++) first[state + 1]! += first[state]!;
  const fill = first.slice();
  const targets = new Int32Array(to.length);
  for (let edge = 0; edge < to.length; edge++) targets[fill[from[edge]!]!++] = to[edge]!;
  return { first, targets };
}

/** Tarjan's strongly connected components, without recursion. */
function components(states: number, { first, targets }: Grouped): Int32Array {
  const component = new Int32Array(states).fill(-1);
  const index = new Int32Array(states);
  const low = new Int32Array(states);
  const cursor = first.slice(0, states);
  const stack: number[] = [];
  const path: number[] = [0];
  let visited = 0;
  let found = 0;
  while (path.length > 0) {
    const state = path[path.length - 1]!;
    if (index[state] === 0) {
      index[state] = low[state] = ++visited;
      stack.push(state);
    }
    if (cursor[state]! < first[state + 1]!) {
      const to = targets[cursor[state]!++]!;
      if (index[to] === 0) path.push(to);
      else if (component[to] === -1) low[state] = Math.min(low[state]!, index[to]!);
      continue;
    }
    path.pop();
    const parent = path[path.length - 1];
    if (parent !== undefined) low[parent] = Math.min(low[parent]!, low[state]!);
    if (low[state] !== index[state]) continue;
    for (let member = -1; member !== state; ) {
      member = stack.pop()!;
      component[member] = found;
    }
    found++;
  }
  return component;
}
