// Compiles src/workers/kernels/frames.wat into the two modules that frames.wat describes.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import wabt from 'wabt';

const [from, to] = process.argv.slice(2);
const text = readFileSync(`${from}/frames.wat`, 'utf8');
const features = { threads: true, bulk_memory: true, simd: true, multi_memory: true };
const { parseWat } = await wabt();

mkdirSync(to, { recursive: true });
compile('between', text);
compile('inside', text.replace(/^.*\(memory \$image .*\n/m, '').replaceAll('$image', '$frames'));

function compile(name, source) {
  const module = parseWat(`${name}.wat`, source, features);
  const { buffer } = module.toBinary({});
  module.destroy();
  // "between" is looked at where it is loaded: Node 20 cannot tell.
  if (name === 'inside' && !WebAssembly.validate(buffer))
    throw new Error(`${name}.wasm is invalid`);
  writeFileSync(`${to}/${name}.wasm`, buffer);
}
