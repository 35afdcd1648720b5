// The guest's program: the sieve of Eratosthenes, a byte per number.
import { add, addi, assemble, bgeu, bltu, bne, ecall, jal, lbu, lui, sb } from './assembler.mjs';

/** Where the guest has its data, and the numbers that it looks at: those below LIMIT. */
export const DATA = 0x9000_0000;
export const LIMIT = 40_960;

/** Counts the primes below LIMIT in x10 and makes an ECALL. */
export function primes() {
  const [zero, count, limit, number, multiple, at, value, one] = [0, 10, 11, 12, 13, 14, 15, 16];
  return assemble([
    lui(limit, LIMIT / 4096),
    addi(number, zero, 2),
    addi(one, zero, 1),
    'next number',
    lui(at, DATA / 4096),
    add(at, at, number),
    lbu(value, at, 0),
    bne(value, zero, 'not a prime'),
    addi(count, count, 1),
    add(multiple, number, number),
    'cross out',
    bgeu(multiple, limit, 'not a prime'),
    lui(at, DATA / 4096),
    add(at, at, multiple),
    sb(one, at, 0),
    add(multiple, multiple, number),
    jal(zero, 'cross out'),
    'not a prime',
    addi(number, number, 1),
    bltu(number, limit, 'next number'),
    ecall,
  ]);
}
