/**
 * A PC of v86 whose guest counts. The firmware that the test brings along does what a BIOS does at
 * the end: it copies the boot sector to 0x7c00 and jumps there. No file and no network is needed.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { V86 } from 'v86';

/** Where the guest keeps its counter, and the last 1024 values of it. */
export const COUNTER = 0x1000;
export const LOG = 0x2000;
export const LOG_WORDS = 1024;

/** The parts of the processor that mmdump's users need. They are not in the types of v86. */
export interface V86Cpu {
  /** Guest RAM. It is a proxy, which makes a view anew each time. */
  readonly mem8: { readonly byteOffset: number; readonly length: number };
  readonly wasm_memory: { readonly buffer: ArrayBuffer; grow(pages: number): number };
  /** Proxies as well, so they can be read and written by index only. */
  readonly reg32: { [register: number]: number };
  readonly instruction_pointer: { [index: number]: number };
  jit_clear_cache(): void;
}

/** WebAssembly.instantiate, which Node's own types leave to the DOM's. */
const { instantiate } = (globalThis as unknown as { readonly WebAssembly: Instantiator })
  .WebAssembly;
interface Instantiator {
  instantiate(
    bytes: Uint8Array,
    imports: unknown,
  ): Promise<{ readonly instance: { readonly exports: never } }>;
}

/** The boot sector, 16-bit code at 0x7c00. */
const BOOT_SECTOR = [
  ...[0x31, 0xc0, 0x8e, 0xd8], //                    xor ax, ax; mov ds, ax
  ...[0xb8, 0x00, 0xb8, 0x8e, 0xc0], //              mov ax, 0xb800; mov es, ax
  ...[0x66, 0xff, 0x06, 0x00, 0x10], //        next: inc dword [COUNTER]
  ...[0x66, 0xa1, 0x00, 0x10], //                    mov eax, [COUNTER]
  ...[0x89, 0xc3, 0x81, 0xe3, 0xff, 0x03], //        mov bx, ax; and bx, 1023
  ...[0xc1, 0xe3, 0x02], //                          shl bx, 2
  ...[0x66, 0x89, 0x87, 0x00, 0x20], //              mov [LOG + bx], eax
  ...[0x26, 0xa2, 0x00, 0x00], //                    mov es:[0], al
  ...[0xeb, 0xe3], //                                jmp next
];

/** The firmware, 64 KiB that end at 1 MiB. The processor starts 16 bytes before the end. */
function firmware(): ArrayBuffer {
  const bytes = new Uint8Array(0x10000).fill(0xf4);
  bytes.set([
    ...[0x0e, 0x1f, 0x31, 0xc0, 0x8e, 0xc0], //      push cs; pop ds; xor ax, ax; mov es, ax
    ...[0xbe, 0x00, 0x01, 0xbf, 0x00, 0x7c], //      mov si, 0x100; mov di, 0x7c00
    ...[0xb9, 0x00, 0x01, 0xfc, 0xf3, 0xa5], //      mov cx, 256; cld; rep movsw
    ...[0xba, 0xce, 0x03, 0xb8, 0x06, 0x0e, 0xef], // out 0x3ce: the display lies at 0xb8000
    ...[0xba, 0xce, 0x03, 0xb8, 0x05, 0x10, 0xef], // out 0x3ce: odd and even bytes
    ...[0xba, 0xc4, 0x03, 0xb8, 0x02, 0x03, 0xef], // out 0x3c4: planes 0 and 1
    ...[0xba, 0xc4, 0x03, 0xb8, 0x04, 0x02, 0xef], // out 0x3c4: as text
    ...[0xea, 0x00, 0x7c, 0x00, 0x00], //            jmp 0:0x7c00
  ]);
  bytes.set(BOOT_SECTOR, 0x100);
  bytes.set([0xea, 0x00, 0x00, 0x00, 0xf0], 0xfff0); // jmp 0xf000:0
  return bytes.buffer;
}

/** A PC that was started. */
export interface Guest {
  readonly emulator: V86;
  readonly cpu: V86Cpu;
  /** The words of guest RAM, in a view that is made anew, since the memory may have grown. */
  words(address: number, count: number): Uint32Array;
  /** The lowest byte of the counter, as the guest has shown it last in the screen's first place. */
  shown(): number;
  /** Resolves when the counter has become larger than `value`. */
  passes(value: number): Promise<void>;
}

/** Starts a PC with `bytes` bytes of RAM. */
export async function startGuest(bytes: number): Promise<Guest> {
  const wasm = readFileSync(createRequire(import.meta.url).resolve('v86/build/v86.wasm'));
  const emulator = new V86({
    wasm_fn: async (imports) => (await instantiate(wasm, imports)).instance.exports,
    memory_size: bytes,
    bios: { buffer: firmware() },
    autostart: true,
  });
  let shown = -1;
  emulator.add_listener('screen-put-char', ([row, column, character]) => {
    if (row === 0 && column === 0) shown = character;
  });
  await new Promise<void>((resolve) => emulator.add_listener('emulator-started', () => resolve()));
  const { cpu } = (emulator as unknown as { v86: { cpu: V86Cpu } }).v86;
  const words = (address: number, count: number): Uint32Array => {
    return new Uint32Array(cpu.wasm_memory.buffer, cpu.mem8.byteOffset + address, count);
  };
  const passes = async (value: number): Promise<void> => {
    while (words(COUNTER, 1)[0]! <= value) await new Promise((resolve) => setImmediate(resolve));
  };
  return { emulator, cpu, words, shown: () => shown, passes };
}
