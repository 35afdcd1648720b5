// Compiles the kernels of a folder, each into the two modules that its text describes.
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

/** "between" two memories, and "inside" one. */
function compileBoth(parseWat, to, prefix, text) {
  compile(parseWat, to, `${prefix}between`, text);
  const alone = text.replace(/^.*\(memory \$image .*\n/m, '').replaceAll('$image', '$frames');
  compile(parseWat, to, `${prefix}inside`, alone);
}

function compile(parseWat, to, name, source) {
  const module = parseWat(`${name}.wat`, source, FEATURES);
  const { buffer } = module.toBinary({});
  module.destroy();
  // What is "between" is looked at where it is loaded: Node 20 cannot tell.
  if (name.endsWith('inside') && !WebAssembly.validate(buffer))
    throw new Error(`${name}.wasm is invalid`);
  writeFileSync(`${to}/${name}.wasm`, buffer);
}
