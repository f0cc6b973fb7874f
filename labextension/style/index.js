import "../lib/panels/panels.css";
import "./index.css";
