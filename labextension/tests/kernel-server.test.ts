import { expect, test } from "vitest";
import { otherServer } from "../src/kernel/other-server";

test("a kernel that found the server that started it uses the page's", () => {
  expect(otherServer("this Jupyter server http://127.0.0.1:8888/")).toBe("");
  expect(otherServer("this JupyterHub server http://10.0.0.1/user/x/")).toBe("");
  expect(otherServer("the service of this JupyterHub http://10.0.0.1/services/mlx/")).toBe("");
  expect(otherServer("")).toBe("");
});

test("a server that was named is another one", () => {
  expect(otherServer("given http://gpu:1234/")).toBe("http://gpu:1234/");
});
