/**
 * The ELF notes of processes.
 *
 * Invariants checked: what is encoded is decoded again · no bytes whatsoever make the decoder throw ·
 * notes that do not belong to a process are left aside.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeProcess } from '../../../src/shared/formats/elf/notes/decode-process.ts';
import { FPREGSET_BYTES } from '../../../src/shared/formats/elf/notes/fpregset.ts';
import {
  encodeNote,
  NOTE_TYPE,
  noteBytes,
  readableNotes,
} from '../../../src/shared/formats/elf/notes/note.ts';
import {
  encodePrstatus,
  GENERAL_REGISTERS,
  GENERAL_REGISTERS_BYTES,
  PRSTATUS_BYTES,
} from '../../../src/shared/formats/elf/notes/prstatus.ts';
import { SIGINFO_BYTES } from '../../../src/shared/formats/elf/notes/siginfo.ts';

const owner = fc.constantFrom('CORE' as const, 'LINUX' as const);
const note = fc.record({
  owner,
  type: fc.nat(0xffff_ffff),
  payload: fc.uint8Array({ maxLength: 40 }),
});

const TIMES = { user: 1234, system: 5, childrenUser: 0, childrenSystem: 0 };
const THREAD = {
  tid: 4711,
  ppid: 1,
  pgrp: 4700,
  sid: 4600,
  signal: 11,
  signalCode: 1,
  signalErrno: 0,
  pending: 1n << 63n,
  blocked: 0x1_0000n,
};

function threadNote(thread = THREAD): Buffer {
  const registers = Buffer.alloc(GENERAL_REGISTERS_BYTES);
  GENERAL_REGISTERS.forEach((_, at) => {
    registers.writeBigUInt64LE(0xffff_ffff_ffff_ff00n + BigInt(at), at * 8);
  });
  return encodeNote('CORE', NOTE_TYPE.PRSTATUS, encodePrstatus(thread, TIMES, registers, true));
}

describe('ELF notes', () => {
  it('are decoded as they were encoded, with padding or without', () => {
    fc.assert(
      fc.property(fc.array(note, { maxLength: 6 }), fc.boolean(), (notes, isPadded) => {
        const parts = notes.map((each) => encodeNote(each.owner, each.type, each.payload));
        const padding = Buffer.alloc(isPadded ? 4 : 0);
        const decoded = readableNotes(Buffer.concat([...parts, padding]));
        const seen = decoded.map(({ owner: name, type, payload }) => {
          return { owner: name, type, payload: new Uint8Array(payload) };
        });
        expect(seen).toEqual(notes);
        parts.forEach((part, at) => {
          const { owner: name, payload } = notes[at]!;
          expect(part.length).toBe(noteBytes(name, payload.length));
        });
      }),
    );
  });

  it('never make the decoder throw, whatever their bytes', () => {
    const damaged = fc.tuple(fc.uint8Array({ maxLength: 600 }), fc.nat(700));
    fc.assert(
      fc.property(damaged, ([bytes, cut]) => {
        decodeProcess(bytes);
        decodeProcess(Buffer.concat([threadNote(), bytes]).subarray(0, cut));
      }),
    );
  });

  it('tell of a thread what the struct says, by its offsets in <sys/procfs.h>', () => {
    const { payload } = readableNotes(threadNote())[0]!;
    expect(payload.length).toBe(336);
    expect(payload.readInt32LE(0)).toBe(11);
    expect(payload.readInt16LE(12)).toBe(11);
    expect(payload.readBigUInt64LE(16)).toBe(1n << 63n);
    expect(payload.readBigUInt64LE(24)).toBe(0x1_0000n);
    expect(payload.readInt32LE(32)).toBe(4711);
    expect(payload.readInt32LE(44)).toBe(4600);
    expect(payload.readBigUInt64LE(48)).toBe(12n);
    expect(payload.readBigUInt64LE(56)).toBe(340_000n);
    expect(payload.readBigUInt64LE(112 + 16 * 8)).toBe(0xffff_ffff_ffff_ff10n); // rip
    expect(payload.readInt32LE(328)).toBe(1);
    const [thread] = decodeProcess(threadNote()).threads;
    expect(thread!.status).toMatchObject(THREAD);
    expect(thread!.status.registers.get('rip')).toBe(0xffff_ffff_ffff_ff10n);
  });

  it('belong to the thread before them', () => {
    const info = Buffer.alloc(SIGINFO_BYTES);
    info.writeInt32LE(11, 0);
    info.writeInt32LE(1, 8);
    info.writeBigUInt64LE(0x7fff_0000_1234n, 16);
    const floating = Buffer.alloc(FPREGSET_BYTES);
    floating.fill(0xab, 160, 176);
    const { process, threads } = decodeProcess(
      Buffer.concat([
        threadNote(),
        encodeNote('CORE', NOTE_TYPE.SIGINFO, info),
        threadNote({ ...THREAD, tid: 4712 }),
        encodeNote('CORE', NOTE_TYPE.FPREGSET, floating),
        encodeNote('LINUX', NOTE_TYPE.X86_XSTATE, Buffer.alloc(832)),
      ]),
    );
    expect(process).toBeNull();
    expect(threads).toMatchObject([
      { signal: { signal: 11, code: 1, address: '0x7fff00001234' }, floatingPoint: null },
      { signal: null, floatingPoint: { xmm0: `0x${'ab'.repeat(16)}`, xmm1: '0x0' } },
    ]);
    expect(threads.map(({ extendedBytes }) => extendedBytes)).toEqual([0, 832]);
  });

  it('of another owner or length are left aside', () => {
    const strange = [
      encodeNote('LINUX', NOTE_TYPE.PRSTATUS, Buffer.alloc(PRSTATUS_BYTES)),
      encodeNote('CORE', NOTE_TYPE.PRSTATUS, Buffer.alloc(144)), // of a 32-bit process
      encodeNote('CORE', NOTE_TYPE.FPREGSET, Buffer.alloc(FPREGSET_BYTES)), // of no thread
    ];
    expect(decodeProcess(Buffer.concat(strange))).toEqual({ process: null, threads: [] });
  });
});
