// A snapshot fuzzer: every input starts from the same state of the target, since a rewind puts back
// what the run before has written. So an input that crashes the target crashes it again.
//
//   node examples/snapshot-fuzzer/run.mjs [SEED]
import { createMachine, createTlb, MiB } from 'mmdump';

const machine = createMachine({ memory: 16 * MiB });
const mm = machine.createAddressSpace();
const heap = mm.mmap({ length: 4 * MiB, prot: 'rw', flags: ['private', 'anonymous'] });
const tlb = createTlb(mm);
const buffer = heap + 4 * MiB - 64; // 64 bytes, and no memory behind them

/** The target: 'P', a length up to 24, bytes to append. It forgets that the buffer has an end. */
function parse(input) {
  const path = [];
  for (let at = 0; input[at] === 0x50 && input[at + 1] <= 24; at += 2 + path.at(-1)) {
    const used = tlb.load32(heap);
    path.push(input[at + 1]);
    for (let byte = 0; byte < path.at(-1); byte++) {
      tlb.store8(buffer + used + byte, input[at + 2 + byte] ?? 0);
    }
    tlb.store32(heap, used + path.at(-1));
  }
  return path.map((length) => length >> 2).join(); // where the input has led
}

function crashOf(input, seen) {
  try {
    seen.add(mm.inside(() => parse(input)));
  } catch (error) {
    return `${error.code} at ${buffer + 64 === error.fields.address ? 'the end' : 'an address'}`;
  }
}

let state = Number(process.argv[2] ?? 1);
/** Random numbers that only the seed decides. */
const below = (limit) => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * limit);
};

const snapshot = machine.snapshot();
const [corpus, seen] = [[Buffer.from('P\x02ab')], new Set()];
for (let runs = 1; ; runs++) {
  const from = corpus[below(corpus.length)];
  const input =
    below(3) > 0 ? Buffer.from(from) : Buffer.concat([from, corpus[below(corpus.length)]]);
  input[below(input.length)] = below(256);
  const paths = seen.size;
  const crash = crashOf(input, seen);
  snapshot.rewind();
  if (seen.size > paths && input.length <= 256) corpus.push(input);
  if (crash === undefined) continue;
  console.log(`run ${runs}: ${crash}, input ${input.toString('hex')}`);
  console.log(`again: ${crashOf(input, seen)}`);
  break;
}
await machine.close();
