// Runs a RISC-V program whose RAM is an address space of mmdump. Half-way the guest is dumped, the
// program goes on to its end, and then once more from the image: both ends are the same.
//
//   node examples/rv32i/run.mjs
import { createDumper, createMachine, MiB, memorySink, openImage } from 'mmdump';
import { guestMemory } from './guest-memory.mjs';
import { DATA, LIMIT, primes } from './primes.mjs';
import { WindowCpu } from './window-cpu.mjs';

const CODE = 0x8000_0000;

/** Runs up to `limit` instructions, inside the mm as far as they go. Returns the trap. */
function run(cpu, limit) {
  return cpu.memory.mm.inside(() => cpu.runHere(limit));
}

const machine = createMachine({ memory: 16 * MiB });
const ram = machine.createAddressSpace();
const flags = ['private', 'anonymous', 'fixed'];
ram.mmap({ address: CODE, length: 4096, prot: 'rw', flags });
ram.write(CODE, primes());
ram.mprotect(CODE, 4096, 'rx');
ram.mmap({ address: DATA, length: MiB, prot: 'rw', flags });

const cpu = new WindowCpu(guestMemory(ram, CODE));
cpu.pc = CODE;
run(cpu, 200_000);

// The checkpoint: the memory as an image, and what is not memory beside it.
const dumper = await createDumper({ workers: 1 });
const sink = memorySink();
await dumper.dump(ram, { to: sink });
const state = cpu.save();

function finish(cpu) {
  const trap = run(cpu, 2 ** 30);
  console.log(`${trap.cause}: ${cpu.x[10]} primes below ${LIMIT}, ${cpu.count} instructions`);
}
finish(cpu);

const { mms } = await dumper.restore(
  await openImage(sink.image),
  createMachine({ memory: 16 * MiB }),
);
const again = new WindowCpu(guestMemory(mms[0], CODE));
again.restore(state);
finish(again);
console.log((await dumper.compare(ram, mms[0])).equal ? 'equal memory' : 'memory differs');
await dumper.close();
