// What needs types to be seen: forgotten promises, conditions that are always true, unsafe `any`.
// Layout and plain rules are Biome's, for the panels and for this folder alike.
import tseslint from "typescript-eslint";

export default tseslint.config(
  { ignores: ["bundle/", "lib/", "node_modules/"] },
  ...tseslint.configs.strictTypeCheckedOnly,
  {
    languageOptions: {
      // It has the sources too: all types are read once.
      parserOptions: { project: "tests/tsconfig.json" },
    },
    rules: {
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
      "@typescript-eslint/no-confusing-void-expression": "off",
      // Lumino's signals take a method and the object that it belongs to.
      "@typescript-eslint/unbound-method": "off",
      "@typescript-eslint/no-floating-promises": ["error", { ignoreVoid: true }],
    },
  },
);
