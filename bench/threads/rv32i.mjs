// What the interpreter of examples/rv32i runs in the benchmark, and the memory that an interpreter has
// without mmdump.
import {
  add,
  addi,
  assemble,
  blt,
  ecall,
  lbu,
  lw,
  sb,
  sw,
  xor,
} from '../../examples/rv32i/assembler.mjs';
import { Cpu } from '../../examples/rv32i/cpu.mjs';
import { guestMemory } from '../../examples/rv32i/guest-memory.mjs';
import { WindowCpu } from '../../examples/rv32i/window-cpu.mjs';

const CODE = 0x1000;
const DATA = 0x2000;
const WORDS = 16_384;

/** Goes through x6 words from x2 on: adds them up in x4, changes them, and copies a byte of each. */
const PROGRAM = assemble([
  'next',
  lw(3, 2, 0),
  add(4, 4, 3),
  xor(3, 3, 1),
  sw(3, 2, 0),
  lbu(5, 2, 1),
  sb(5, 2, 2),
  addi(2, 2, 4),
  addi(1, 1, 1),
  blt(1, 6, 'next'),
  ecall,
]);

class PlainMemory {
  constructor(bytes) {
    this.words = new Int32Array(bytes / 4);
    this.halves = new Uint16Array(this.words.buffer);
    this.bytes = new Uint8Array(this.words.buffer);
  }
  fetch32(pc) {
    return this.words[pc >>> 2];
  }
  load8(at) {
    return this.bytes[at];
  }
  load8s(at) {
    return (this.bytes[at] << 24) >> 24;
  }
  load16s(at) {
    return (this.halves[at >>> 1] << 16) >> 16;
  }
  load16(at) {
    return this.halves[at >>> 1];
  }
  load32(at) {
    return this.words[at >>> 2];
  }
  store8(at, value) {
    this.bytes[at] = value;
  }
  store16(at, value) {
    this.halves[at >>> 1] = value;
  }
  store32(at, value) {
    this.words[at >>> 2] = value;
  }
}

/**
 * Runs the program again and again from `base` on: `run` runs what the processor is set to. Returns the
 * number of instructions.
 */
function interpret(cpu, run, base, times) {
  cpu.count = 0;
  while (cpu.count < times) {
    cpu.pc = base + CODE;
    cpu.x.fill(0);
    cpu.x[2] = base + DATA;
    cpu.x[6] = WORDS;
    run();
  }
  return cpu.count;
}

/** Makes a function that interprets at least so many instructions in a plain ArrayBuffer. */
export function interpreterOnArray(bytes) {
  const memory = new PlainMemory(bytes);
  memory.words.set(PROGRAM, CODE / 4);
  const cpu = new Cpu();
  return (times) => interpret(cpu, () => cpu.run(memory, memory, 1e9), 0, times);
}

/** Maps a page for the program, from `base` on, and writes it. */
function load(mm, base) {
  const flags = ['private', 'anonymous', 'fixed'];
  mm.mmap({ address: base + CODE, length: 4096, prot: 'rwx', flags });
  mm.write(base + CODE, PROGRAM);
  return guestMemory(mm, base + CODE);
}

/** The same in an mm, through a TLB. */
export function interpreterOnTlb(mm, base) {
  const { code, data } = load(mm, base);
  const cpu = new Cpu();
  return (times) => mm.inside(() => interpret(cpu, () => cpu.run(code, data, 1e9), base, times));
}

/** The same with hits that the interpreter makes itself. */
export function interpreterOnWindow(mm, base) {
  const cpu = new WindowCpu(load(mm, base));
  return (times) => mm.inside(() => interpret(cpu, () => cpu.runHere(1e9), base, times));
}
