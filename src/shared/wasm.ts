/** The parts of WebAssembly that mmdump uses. Node's own types leave them to the DOM's. */

/** A shared memory of WebAssembly. */
export interface WasmMemory {
  /** The whole memory. After the memory has grown, it is another buffer over the same bytes. */
  readonly buffer: SharedArrayBuffer;
  /** Adds pages of 64 KiB. Returns how many there were before. RangeError beyond the maximum. */
  grow(pages: number): number;
}

/** A compiled module. Threads can pass it on without compiling it again. */
export interface WasmModule {
  readonly __wasmModule?: never;
}

/** A mutable global of 64 bits. Instances of one thread can share it. */
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
/** The most pages that a memory can have: 4 GiB. */
export const WASM_PAGES_MAX = 0x10000;

const { WebAssembly: wasm } = globalThis as unknown as {
  readonly WebAssembly: WebAssemblyNamespace;
};

/** The classes of WebAssembly, with the types above. */
export const Memory: WebAssemblyNamespace['Memory'] = wasm.Memory;
export const Module: WebAssemblyNamespace['Module'] = wasm.Module;
export const Global: WebAssemblyNamespace['Global'] = wasm.Global;
export const Instance: WebAssemblyNamespace['Instance'] = wasm.Instance;

/** Whether this version of Node can compile the module. */
export function isValidModule(bytes: Uint8Array): boolean {
  return wasm.validate(bytes);
}
