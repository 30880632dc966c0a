from django.urls import path

from longboard.boards import views

urlpatterns = [
    path("", views.home, name="home"),
    path("boards/", views.boards, name="boards"),
    path("boards/<str:suite>/", views.board, name="board"),
    path("boards/<str:suite>/table.csv", views.board_csv, name="board-csv"),
    path("boards/<str:suite>/figure.json", views.board_figure, name="board-figure"),
    path("plotly-<str:version>.min.js", views.plotly_script, name="plotly"),
    path("healthz", views.healthz, name="healthz"),
]
