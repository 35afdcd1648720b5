/** What of WebAssembly is used here. Node's own types leave it to those of the DOM. */

export interface WasmMemory {
  /** All of it, as long as it is now: memory that has grown has another buffer over the same bytes. */
  readonly buffer: SharedArrayBuffer;
  /** Adds pages of 64 KiB; returns how many there were. RangeError beyond the maximum. */
  grow(pages: number): number;
}

/** A compiled module. Threads pass it on without compiling it again. */
export interface WasmModule {
  readonly __wasmModule?: never;
}

/** A mutable global of 64 bits, which instances of one thread share. */
export interface WasmGlobal {
  value: bigint;
}

interface WebAssemblyNamespace {
  readonly Memory: new (descriptor: {
    readonly initial: number;
    readonly maximum: number;
    readonly shared: true;
  }) => WasmMemory;
  readonly Module: new (bytes: Uint8Array) => WasmModule;
  readonly Global: new (
    descriptor: { readonly value: 'i64'; readonly mutable: true },
    value: bigint,
  ) => WasmGlobal;
  readonly Instance: new (
    module: WasmModule,
    imports: { readonly mmdump: { readonly [name: string]: WasmMemory | WasmGlobal } },
  ) => { readonly exports: unknown };
  validate(bytes: Uint8Array): boolean;
}

export const WASM_PAGE = 0x10000; // bytes
/** Pages of a memory at most: 4 GiB. */
export const WASM_PAGES_MAX = 0x10000;

const { WebAssembly: wasm } = globalThis as unknown as {
  readonly WebAssembly: WebAssemblyNamespace;
};

export const Memory: WebAssemblyNamespace['Memory'] = wasm.Memory;
export const Module: WebAssemblyNamespace['Module'] = wasm.Module;
export const Global: WebAssemblyNamespace['Global'] = wasm.Global;
export const Instance: WebAssemblyNamespace['Instance'] = wasm.Instance;

/** Whether this Node could compile a module. */
export function isValidModule(bytes: Uint8Array): boolean {
  return wasm.validate(bytes);
}
