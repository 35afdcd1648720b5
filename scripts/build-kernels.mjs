// Compiles the kernels of a folder. The text of each describes two modules.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import wabt from 'wabt';
import { XXH3_TEXT } from '../src/workers/kernels/xxh3.wat.mjs';

const FEATURES = { threads: true, bulk_memory: true, simd: true, multi_memory: true };

export async function buildKernels(from, to) {
  const { parseWat } = await wabt();
  mkdirSync(to, { recursive: true });
  compileBoth(parseWat, to, '', readFileSync(`${from}/frames.wat`, 'utf8'));
  compileBoth(parseWat, to, 'xxh3-', XXH3_TEXT);
}

/** Makes a module that works "between" two memories, and one that works "inside" one memory. */
function compileBoth(parseWat, to, prefix, text) {
  compile(parseWat, to, `${prefix}between`, text);
  const alone = text.replace(/^.*\(memory \$image .*\n/m, '').replaceAll('$image', '$frames');
  compile(parseWat, to, `${prefix}inside`, alone);
}

function compile(parseWat, to, name, source) {
  const module = parseWat(`${name}.wat`, source, FEATURES);
  const { buffer } = module.toBinary({});
  module.destroy();
  // A "between" module is validated where it is loaded: Node 20 knows only one memory per module.
  if (name.endsWith('inside') && !WebAssembly.validate(buffer))
    throw new Error(`${name}.wasm is invalid`);
  writeFileSync(`${to}/${name}.wasm`, buffer);
}
