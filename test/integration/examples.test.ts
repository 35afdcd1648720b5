/**
 * Invariants checked: the examples run and print what their comments say · the interpreter of
 * examples/rv32i does what RV32I says, on a TLB and on a window · it stops at the instruction that
 * faults, and fetches what is mapped at the time of the fetch
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { type AddressSpace, createMachine, MiB, MmdumpError } from 'mmdump';
import { describe, expect, it } from 'vitest';

const rootUrl = new URL('../../', import.meta.url);
const root = fileURLToPath(rootUrl);
/** A module of the example, which is JavaScript without types. */
const moduleOf = (name: string) => import(new URL(`examples/rv32i/${name}.mjs`, rootUrl).href);
const { Cpu } = await moduleOf('cpu');
const { guestMemory } = await moduleOf('guest-memory');
const { WindowCpu } = await moduleOf('window-cpu');
const {
  add,
  addi,
  andi,
  assemble,
  auipc,
  beq,
  bgeu,
  blt,
  bltu,
  bne,
  ebreak,
  ecall,
  jal,
  jalr,
  lb,
} = await moduleOf('assembler');
const { lbu, lhu, lui, lw, sb, sh, slli, sltu, srai, sub, sw, xor } = await moduleOf('assembler');

const CODE = 0x8000_0000;
const DATA = 0x9000_0000;

it('rv32i: the guest counts the primes, and ends the same when it is restored half-way', () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['examples/rv32i/run.mjs'], {
    cwd: root,
    encoding: 'utf8',
  });
  let primes = 0;
  for (let number = 2; number < 40_960; number++) if (isPrime(number)) primes++;
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  const [first, second, third] = stdout.trim().split('\n');
  expect(first).toMatch(new RegExp(`^ecall: ${primes} primes below 40960, \\d+ instructions$`));
  expect(second).toBe(first);
  expect(third).toBe('equal memory');
});

function isPrime(number: number): boolean {
  for (let by = 2; by * by <= number; by++) if (number % by === 0) return false;
  return true;
}

type On = 'a TLB' | 'a window';

function guest(
  on: On,
  lines: unknown[],
): {
  cpu: { pc: number; x: Int32Array; count: number };
  mm: AddressSpace;
  run: () => unknown;
} {
  const mm = createMachine({ memory: 4 * MiB }).createAddressSpace();
  const flags = ['private', 'anonymous', 'fixed'] as const;
  mm.mmap({ address: CODE, length: 8192, prot: 'rwx', flags });
  mm.mmap({ address: DATA, length: 8192, prot: 'rw', flags });
  mm.write(CODE, assemble(lines));
  const memory = guestMemory(mm, CODE);
  const { code, data } = memory;
  const cpu = on === 'a TLB' ? new Cpu() : new WindowCpu(memory);
  cpu.pc = CODE;
  const run = () => {
    return mm.inside(() => (on === 'a TLB' ? cpu.run(code, data, 1000) : cpu.runHere(1000)));
  };
  return { cpu, mm, run };
}

describe.each<On>(['a TLB', 'a window'])('rv32i on %s', (on) => {
  it('arithmetic, loads and stores of every width, jumps', () => {
    const { cpu, run } = guest(on, [
      lui(1, DATA >>> 12),
      addi(2, 0, -2),
      sw(2, 1, 0),
      lb(3, 1, 0), //          -2
      lbu(4, 1, 0), //         254
      lhu(5, 1, 2), //         65535
      sh(4, 1, 2),
      lw(6, 1, 0), //          0x00fefffe
      srai(7, 2, 1), //        -1
      slli(8, 4, 4), //        4064
      sub(9, 4, 8), //         -3810
      sltu(10, 4, 2), //       1
      xor(11, 4, 8),
      andi(12, 11, 0x7ff),
      auipc(13, 1), //         0x80001038
      addi(0, 2, 5), //        x0 stays 0
      add(14, 0, 0),
      jal(15, 'over'),
      ebreak,
      'over',
      beq(0, 0, 'equal'),
      ebreak,
      'equal',
      bne(0, 2, 'signed'),
      ebreak,
      'signed',
      blt(2, 0, 'unsigned'),
      ebreak,
      'unsigned',
      bltu(0, 2, 'greater'),
      ebreak,
      'greater',
      bgeu(2, 0, 'back'),
      ebreak,
      'back',
      addi(16, 15, 56),
      jalr(17, 16, 1), //      bit 0 is cleared
      ebreak,
      ecall,
    ]);
    expect(run()).toEqual({ cause: 'ecall', pc: CODE + 4 * 33 });
    expect([...cpu.x.subarray(2, 15)]).toEqual([
      -2,
      -2,
      254,
      65_535,
      0x00fe_fffe,
      -1,
      4064,
      -3810,
      1,
      254 ^ 4064,
      (254 ^ 4064) & 0x7ff,
      (CODE + 4 * 14 + 4096) | 0,
      0,
    ]);
    expect(cpu.x[0]).toBe(0);
    expect([cpu.x[15], cpu.x[17]]).toEqual([(CODE + 4 * 18) | 0, (CODE + 4 * 31) | 0]);
  });

  it('a fault leaves the program counter at its instruction', () => {
    const { cpu, mm, run } = guest(on, [addi(1, 0, 1), sb(1, 0, 16), ecall]);
    expect(run).toThrow(MmdumpError);
    expect([cpu.pc, cpu.count]).toEqual([CODE + 4, 1]);
    mm.mprotect(CODE, 4096, 'rw');
    cpu.pc = CODE;
    expect(run).toThrow(/not executable/);
    expect(cpu.pc).toBe(CODE);
  });

  it('code that the guest has written is what it runs next, in a fork, too', () => {
    const { cpu, mm, run } = guest(on, [
      lui(1, CODE >>> 12),
      lui(2, assemble([addi(5, 0, 7)])[0] >>> 12),
      addi(2, 2, assemble([addi(5, 0, 7)])[0] & 0xfff),
      sw(2, 1, 16),
      addi(5, 0, 1), // gives way to addi x5, x0, 7
      ecall,
    ]);
    const child = mm.fork(); // the store breaks copy-on-write, on the page that is running
    expect(run()).toEqual({ cause: 'ecall', pc: CODE + 24 });
    expect(cpu.x[5]).toBe(7);
    const before = new Int32Array(1);
    child.read(CODE + 16, before);
    expect(before[0]).toBe(assemble([addi(5, 0, 1)])[0]);
  });

  it('an access across two pages, and one that is not aligned', () => {
    const { cpu, run } = guest(on, [
      lui(1, (DATA >>> 12) + 1),
      lui(2, 0x12345),
      sw(2, 1, -2),
      lw(3, 1, -2),
      lhu(4, 1, 0),
      sw(2, 1, -7),
      lbu(5, 1, -5),
      lb(6, 1, -1), //   a byte at the end of a page
      ecall,
    ]);
    for (let turn = 0; turn < 2; turn++) {
      cpu.pc = CODE;
      expect(run()).toEqual({ cause: 'ecall', pc: CODE + 36 });
      expect([...cpu.x.subarray(3, 7)]).toEqual([0x1234_5000, 0x1234, 0x34, 0x50]);
    }
  });
});
